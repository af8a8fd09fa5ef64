"""FCM's HTTP v1 messages:send: a bearer token of ours, the schema, and tokens that fail on purpose.

A device token that starts with "unregistered", "mismatch" or "invalid" gets the error of that name.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from stack import strict
from stack.sandbox.fcm_fields import Android, AndroidNotification, Apns, Message, Send, Webpush, snake_case
from stack.sandbox.ledger import Draft
from stack.sandbox.oauth import Account, Tokens
from stack.sandbox.provider import Accepted, Answer, Call, Refused, json_answer

PAYLOAD_LIMIT_BYTES = 4_096
TOKEN_LIMIT_CHARS = 4_096
TTL_LIMIT_S = 28 * 24 * 3600
COLLAPSE_ID_LIMIT_BYTES = 64

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_TOPIC = re.compile(r"(?:/topics/)?[A-Za-z0-9\-_.~%]{1,900}\Z")
_JSON_TYPES = {"str": "TYPE_STRING", "int": "TYPE_INT32", "float": "TYPE_DOUBLE", "bool": "TYPE_BOOL"}
_DELIBERATE = {
    "unregistered": (404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED"),
    "mismatch": (403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH"),
    "invalid": (400, "INVALID_ARGUMENT", "The registration token is not valid", "INVALID_ARGUMENT"),
}
_FAILURES = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument.", "INVALID_ARGUMENT"),
    401: ("UNAUTHENTICATED", "Auth error from APNS or Web Push Service", "THIRD_PARTY_AUTH_ERROR"),
    403: ("PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH"),
    404: ("NOT_FOUND", "Requested entity was not found.", "UNREGISTERED"),
    429: ("RESOURCE_EXHAUSTED", "Quota exceeded", "QUOTA_EXCEEDED"),
    500: ("INTERNAL", "Internal error encountered.", "INTERNAL"),
    503: ("UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE"),
}

_decoder = msgspec.json.Decoder(Send)
_encode = msgspec.json.Encoder().encode


class _Problem(NamedTuple):
    """A rule that a message breaks."""

    field: str
    text: str


class Fcm:
    """Accepts messages for the project of `account`."""

    name = "fcm"

    def __init__(
        self, account: Account | None, tokens: Tokens, clock: Callable[[], float] = time.time
    ) -> None:
        self._project = account.project_id if account else ""
        self._tokens = tokens
        self._clock = clock

    def accept(self, call: Call) -> Accepted:
        """Raises Refused with google.rpc errors: 401, 403, 400, and 404 for a device that is gone."""
        self._authorize(call)
        send = _read(call.body)
        message = send.message
        draft = _draft(message)
        if problem := _problem(message):
            raise Refused(_invalid(problem.text, problem.field, own_code=True), draft)
        if fate := _fate(message):
            status, code, text, reason = _DELIBERATE[fate]
            raise Refused(_error(status, code, text, [_fcm_error(reason)]), draft)
        name = f"0:{int(self._clock() * 1e6)}%{secrets.token_hex(8)}"
        answer = json_answer(200, {"name": f"projects/{self._project}/messages/{name}"})
        return Accepted(answer, [draft], name, effect=not send.validate_only)

    def failure(self, status: int) -> Answer:
        code, text, reason = _FAILURES.get(status, ("UNKNOWN", "Unknown error", "UNSPECIFIED_ERROR"))
        return _error(status, code, text, [_fcm_error(reason)])

    def _authorize(self, call: Call) -> None:
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise Refused(_unauthenticated("Request is missing a credential.", "CREDENTIALS_MISSING"))
        if reason := self._tokens.reason_against(token):
            raise Refused(_unauthenticated("Request had invalid authentication credentials.", reason))
        if call.path["project"] != self._project:
            info = {"@type": _ERROR_INFO, "reason": "IAM_PERMISSION_DENIED", "domain": "iam.googleapis.com"}
            text = f"Permission denied on project {call.path['project']} (or it may not exist)."
            raise Refused(_error(403, "PERMISSION_DENIED", text, [info]))


def _read(body: bytes) -> Send:
    try:
        return strict.decode(_decoder, body)
    except strict.Violation as wrong:
        if wrong.fault is not strict.Fault.UNKNOWN:
            raise Refused(_bad_field(wrong)) from None
    try:
        return strict.decode(_decoder, snake_case(body))
    except strict.Violation as wrong:
        raise Refused(_bad_field(wrong)) from None


def _problem(message: Message) -> _Problem | None:
    """The first rule of FCM that the fields alone cannot say."""
    targets = _targets(message)
    if not any(targets.values()):
        return _Problem("message", "Recipient of the message is not set.")
    if len(targets) > 1:
        return _Problem("message", f"Exactly one target may be set; given: {', '.join(targets)}.")
    for check in (_bad_audience, _bad_data, _bad_android, _bad_apns, _bad_webpush):
        if problem := check(message):
            return problem
    return None


def _targets(message: Message) -> dict[str, str]:
    given = (message.token, message.fid, message.topic, message.condition)
    named = zip(("token", "fid", "topic", "condition"), given, strict=True)
    return {name: value for name, value in named if isinstance(value, str)}


def _fate(message: Message) -> str | None:
    """What happens to a device on purpose: by the prefix of its token, or because that is no token at all."""
    token = message.token or message.fid
    if not isinstance(token, str):
        return None
    if len(token) > TOKEN_LIMIT_CHARS or not (token.isascii() and token.isprintable()) or " " in token:
        return "invalid"
    return next((prefix for prefix in _DELIBERATE if token.startswith(prefix)), None)


def _bad_audience(message: Message) -> _Problem | None:
    if isinstance(message.topic, str) and not _TOPIC.match(message.topic):
        return _Problem("message.topic", "Malformed topic name")
    if isinstance(message.condition, str) and "in topics" not in message.condition:
        return _Problem("message.condition", "Invalid condition expression")
    return None


def _bad_data(message: Message) -> _Problem | None:
    for key in message.data:
        if key in ("from", "message_type") or key.startswith(("google.", "gcm.notification.")):
            return _Problem("message.data", f"Invalid data payload key: {key}")
    if _payload_bytes(message) > PAYLOAD_LIMIT_BYTES:
        return _Problem("message", "Message is too big")
    return None


def _bad_android(message: Message) -> _Problem | None:
    if not isinstance(message.android, Android):
        return None
    if float(message.android.ttl[:-1]) > TTL_LIMIT_S:
        return _Problem("message.android.ttl", "Invalid TTL: at most four weeks")
    return None


def _bad_apns(message: Message) -> _Problem | None:
    if not isinstance(message.apns, Apns):
        return None
    for name, value in message.apns.headers.items():
        if name.lower() == "apns-collapse-id" and len(value.encode()) > COLLAPSE_ID_LIMIT_BYTES:
            return _Problem("message.apns.headers", "apns-collapse-id may not exceed 64 bytes")
    return None


def _bad_webpush(message: Message) -> _Problem | None:
    if isinstance(message.webpush, Webpush):
        link = message.webpush.fcm_options.link
        if link and not link.startswith("https://"):
            return _Problem("message.webpush.fcm_options.link", "The link must be an HTTPS URL")
    return None


def _payload_bytes(message: Message) -> int:
    """Bytes of what a device would get, as compact JSON. Each platform gets its part; the largest counts."""
    parts: list[object] = [None]
    if isinstance(message.android, Android):
        parts.append((message.android.data, message.android.notification or None))
    if isinstance(message.webpush, Webpush):
        parts.append((message.webpush.data, message.webpush.notification))
    if isinstance(message.apns, Apns):
        parts.append(message.apns.payload)
    return max(len(_encode((message.data, message.notification, part))) for part in parts)


def _draft(message: Message) -> Draft:
    title, text = message.notification.title, message.notification.body
    if isinstance(message.android, Android) and isinstance(message.android.notification, AndroidNotification):
        title, text = message.android.notification.title or title, message.android.notification.body or text
    return Draft(
        recipient=_recipient(message),
        notification_id=message.data.get("notification_id", ""),
        delivery_id=message.data.get("delivery_id", ""),
        title=title or message.data.get("title", ""),
        text=text or message.data.get("message", ""),
    )


def _recipient(message: Message) -> str:
    """The device token or FID as it is; `topic:` or `condition:` and the rest for many devices."""
    name, value = next(iter(_targets(message).items()), ("", ""))
    return f"{name}:{value}" if name in ("topic", "condition") else value


def _bad_field(wrong: strict.Violation) -> Answer:
    parent = _google_path(wrong.path[:-1])
    match wrong.fault:
        case strict.Fault.MALFORMED:
            return _invalid("Invalid JSON payload received.")
        case strict.Fault.UNKNOWN:
            where = f" at '{parent}'" if parent else ""
            what = f'Unknown name "{wrong.path[-1]}"{where}: Cannot find field.'
            return _invalid(f"Invalid JSON payload received. {what}", parent)
        case strict.Fault.MISSING if wrong.path == ("message",):
            return _invalid("The message is not set.", "message", own_code=True)
        case strict.Fault.TYPE:
            field = _google_path(wrong.path)
            expected = _JSON_TYPES.get(wrong.expected, wrong.expected)
            return _invalid(f"Invalid value at '{field}' ({expected}), got {wrong.given}", field)
        case _:
            field = _google_path(wrong.path)
            return _invalid(f"Invalid value at '{field}': {wrong.problem}", field)


def _google_path(path: tuple[str, ...]) -> str:
    """`message.data[0].value`, as Google's JSON reader names places; map entries all count as the first."""
    text = ""
    for step in path:
        if step == "...":
            text += "[0].value"
        elif step.isdigit():
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def _invalid(text: str, field: str | None = None, *, own_code: bool = False) -> Answer:
    details: list[object] = []
    if field is not None:
        details.append({"@type": _BAD_REQUEST, "fieldViolations": [{"field": field, "description": text}]})
    if own_code:
        details.append(_fcm_error("INVALID_ARGUMENT"))
    return _error(400, "INVALID_ARGUMENT", text, details)


def _unauthenticated(text: str, reason: str) -> Answer:
    info = {"@type": _ERROR_INFO, "reason": reason, "domain": "googleapis.com"}
    return _error(401, "UNAUTHENTICATED", text, [info])


def _fcm_error(reason: str) -> dict[str, str]:
    return {"@type": _FCM_ERROR, "errorCode": reason}


def _error(status: int, code: str, text: str, details: list[object]) -> Answer:
    error = {"code": status, "message": text, "status": code, "details": details}
    return json_answer(status, {"error": error})
