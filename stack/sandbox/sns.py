"""AWS SNS, as far as it sends text messages: the query API's Publish to a phone number, signed with Signature
Version 4. Errors: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html and those common to all of AWS.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl
from uuid import uuid4
from xml.sax.saxutils import escape

from stack.sandbox.ledger import Draft
from stack.sandbox.opt_outs import OptOuts
from stack.sandbox.provider import Accepted, Answer, Call, Refused
from stack.sandbox.signature_v4 import SignatureV4

VERSION = "2010-03-31"
TEXT_LIMIT_CHARS = 1_600

_NAMESPACE = "http://sns.amazonaws.com/doc/2010-03-31/"
_E164 = re.compile(r"\+[1-9][0-9]{6,14}\Z")
_ENTRY = re.compile(
    r"MessageAttributes\.entry\.([1-9][0-9]*)\.(Name|Value\.(?:DataType|StringValue|BinaryValue))\Z"
)
# The attributes of text messages, with what their values look like.
_ATTRIBUTES = {
    "AWS.SNS.SMS.SenderID": ("String", re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]{1,11}\Z")),
    "AWS.SNS.SMS.SMSType": ("String", re.compile(r"(Promotional|Transactional)\Z")),
    "AWS.SNS.SMS.MaxPrice": ("Number", re.compile(r"[0-9]+(\.[0-9]{1,5})?\Z")),
    "AWS.MM.SMS.OriginationNumber": ("String", re.compile(r"\+?[0-9]{5,14}\Z")),
    "AWS.MM.SMS.EntityId": ("String", re.compile(r".{1,50}\Z")),
    "AWS.MM.SMS.TemplateId": ("String", re.compile(r".{1,50}\Z")),
}
_FAILURES = {
    400: ("InvalidParameter", "Invalid parameter"),
    403: ("AuthorizationError", "Not authorized to perform: SNS:Publish"),
    404: ("NotFound", "Topic does not exist"),
    413: ("InvalidParameter", "Invalid parameter: Message too long"),
    429: ("Throttling", "Rate exceeded"),
    500: ("InternalFailure", "We encountered an internal error. Please try again."),
    503: ("ServiceUnavailable", "Service is currently unavailable"),
}


class Sns:
    """Takes texts for whoever signs with `key` ("ACCESS_KEY_ID:SECRET")."""

    name = "sns"

    def __init__(self, key: str | None, clock: Callable[[], float] = time.time) -> None:
        self._signature = SignatureV4(key, "sns", clock)
        self.stopped = OptOuts()

    def accept(self, call: Call) -> Accepted:
        """Raises Refused with AWS's XML: 403 or 400 for the signature, 400 or 404 for the rest."""
        if problem := self._signature.problem(call, f"/sns{call.path.get('end', '')}"):
            raise Refused(_error(*problem))
        form = dict(parse_qsl(call.body.decode(errors="replace"), keep_blank_values=True))
        action, version = form.get("Action", ""), form.get("Version", "")
        if action != "Publish" or version != VERSION:
            text = f"Could not find operation {action} for version {version or 'NO_VERSION_SPECIFIED'}"
            raise Refused(_error(400, "InvalidAction", text))
        attributes = _attributes(form)
        draft = _draft(form, attributes)
        self._check(form, draft, attributes)
        message_id = str(uuid4())
        body = f"<PublishResult><MessageId>{message_id}</MessageId></PublishResult>"
        return Accepted(_answer(200, "PublishResponse", f"{body}{_metadata()}"), [draft], message_id)

    def failure(self, status: int) -> Answer:
        fallback = _FAILURES[500 if status >= 500 else 400]
        return _error(status, *_FAILURES.get(status, fallback))

    def _check(
        self, form: Mapping[str, str], draft: Draft, attributes: Mapping[str, tuple[str, str]]
    ) -> None:
        if not draft.recipient:
            if form.get("TopicArn") or form.get("TargetArn"):
                raise Refused(_error(404, "NotFound", "Topic does not exist"), draft)
            raise Refused(_invalid("TopicArn or TargetArn Reason: no value for required parameter"), draft)
        if not _E164.match(draft.recipient):
            raise Refused(
                _invalid(f"PhoneNumber Reason: {draft.recipient} is not valid to publish to"), draft
            )
        if not draft.text:
            raise Refused(_invalid("Empty message"), draft)
        if len(draft.text) > TEXT_LIMIT_CHARS:
            raise Refused(_invalid("Message too long"), draft)
        for name, (kind, value) in attributes.items():
            if problem := _bad_attribute(name, kind, value):
                raise Refused(_invalid(f"MessageAttributes Reason: {problem}"), draft)
        if draft.recipient in self.stopped:
            text = f"Phone number {draft.recipient} is opted out"
            raise Refused(_error(400, "OptedOut", text), draft)


def _attributes(form: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Name -> (data type, value) of the message attributes. Raises Refused for one that is half there."""
    entries: dict[str, dict[str, str]] = {}
    for field, value in form.items():
        if found := _ENTRY.match(field):
            entries.setdefault(found[1], {})[found[2]] = value
    result = {}
    for entry in entries.values():
        if not entry.get("Name") or not entry.get("Value.DataType"):
            raise Refused(
                _error(400, "ParameterValueInvalid", "The message attribute must have name and type.")
            )
        result[entry["Name"]] = (entry["Value.DataType"], entry.get("Value.StringValue", ""))
    return result


def _bad_attribute(name: str, kind: str, value: str) -> str | None:
    # Attributes that are nobody's words go along unread, as with SNS.
    wanted, pattern = _ATTRIBUTES.get(name, (kind, None))
    if kind != wanted:
        return f"The message attribute '{name}' must be of the type {wanted}"
    if pattern is not None and not pattern.match(value):
        return f"The value of the message attribute '{name}' is invalid"
    return None


def _draft(form: Mapping[str, str], attributes: Mapping[str, tuple[str, str]]) -> Draft:
    sender = attributes.get("AWS.MM.SMS.OriginationNumber") or attributes.get("AWS.SNS.SMS.SenderID")
    # SNS has no field for an id of ours, and gives none back.
    return Draft(
        recipient=form.get("PhoneNumber", ""),
        sender=sender[1] if sender else "",
        text=form.get("Message", ""),
    )


def _invalid(text: str) -> Answer:
    return _error(400, "InvalidParameter", f"Invalid parameter: {text}")


def _error(status: int, code: str, message: str) -> Answer:
    fault = "Receiver" if status >= 500 else "Sender"
    error = f"<Error><Type>{fault}</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return _answer(status, "ErrorResponse", f"{error}<RequestId>{uuid4()}</RequestId>")


def _metadata() -> str:
    return f"<ResponseMetadata><RequestId>{uuid4()}</RequestId></ResponseMetadata>"


def _answer(status: int, name: str, content: str) -> Answer:
    body = f'<{name} xmlns="{_NAMESPACE}">{content}</{name}>'
    return Answer(status, body.encode(), content_type="text/xml")
