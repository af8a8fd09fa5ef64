"""Twilio's Messages resource: send, list, fetch. The list is how a sender settles an unknown outcome.

Codes: https://www.twilio.com/docs/api/errors; numbers that fail on purpose: Twilio's test credentials page.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from email.utils import format_datetime
from urllib.parse import parse_qsl

from stack.sandbox.ledger import Draft, Entry, Ledger
from stack.sandbox.opt_outs import OptOuts
from stack.sandbox.provider import Accepted, Answer, Call, Refused, json_answer
from stack.sandbox.twilio_pages import Unreadable, page
from stack.sandbox.twilio_text import BODY_LIMIT_CHARS, segments
from stack.stamps import moment

API = "/2010-04-01/Accounts"

_E164 = re.compile(r"\+[1-9][0-9]{6,14}\Z")
_SENDER = re.compile(r"\+[1-9][0-9]{6,14}\Z|[0-9]{5,6}\Z|(?=.*[A-Za-z])[A-Za-z0-9 &_+-]{1,11}\Z")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:[/?#][!-~]*)?\Z")
URL_LIMIT_CHARS = 4_000

_TO_FAILS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
_FROM_FAILS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
_MESSAGES = {
    20001: "Invalid parameter",
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    21211: "Invalid 'To' Phone Number: {to}",
    21212: "Invalid From Number: {sender}",
    21266: "'To' and 'From' number cannot be the same",
    21408: "Sending to the region of {to} is not permitted for this account",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The From number {sender} cannot send messages for this account",
    21609: "The StatusCallback is not a valid URL",
    21610: "{to} has opted out of messages from this sender",
    21611: "The queue of {sender} is full",
    21612: "There is no route from {sender} to {to}",
    21614: "{to} cannot receive SMS",
    21617: "The message body exceeds the 1600 character limit",
}
_STATUS_CODES = {401: 20003, 404: 20404, 429: 20429, 500: 20500, 503: 20503}


class Twilio:
    """Accepts messages of the account `key` ("SID:token"); the ledger is its store of messages."""

    name = "twilio"

    def __init__(self, key: str | None, ledger: Ledger) -> None:
        self._account = key.partition(":")[0] if key else ""
        self._authorization = b"Basic " + base64.b64encode(key.encode()) if key else None
        self._ledger = ledger
        self.stopped = OptOuts()

    def accept(self, call: Call) -> Accepted:
        """Raises Refused with 401, 404 or 400."""
        self._authenticate(call)
        if call.method == "POST":
            return self._send(call)
        if (sid := call.path.get("message")) is not None:
            return self._fetch(sid)
        try:
            return Accepted(json_answer(200, page(self._ledger, self._account, call.query, self.resource)))
        except Unreadable as error:
            raise Refused(_error(400, 20001, str(error))) from None

    def failure(self, status: int) -> Answer:
        return _error(status, _STATUS_CODES.get(status, 20001))

    def resource(self, entry: Entry) -> dict[str, object]:
        """A message as the API shows it once it has been sent."""
        return self._resource(entry.message_id, entry, entry.time, sent=True)

    def _authenticate(self, call: Call) -> None:
        if self._authorization is None or not hmac.compare_digest(call.authorization, self._authorization):
            answer = _error(401, 20003, headers={"WWW-Authenticate": 'Basic realm="Twilio API"'})
            raise Refused(answer)
        if call.path["account"] != self._account:
            raise Refused(_error(404, 20404))

    def _send(self, call: Call) -> Accepted:
        form = _form(call)
        draft = _draft(form)
        if code := self._wrong(form, draft):
            status = 429 if code == 21611 else 400
            text = _MESSAGES[code].format(to=draft.recipient, sender=draft.sender)
            raise Refused(_error(status, code, text), draft)
        sid = "SM" + secrets.token_hex(16)
        resource = self._resource(sid, draft, self._ledger.now(), sent=False)
        return Accepted(json_answer(201, resource), [draft], sid)

    def _wrong(self, form: dict[str, str], draft: Draft) -> int | None:
        """The code of the first thing wrong with a message, in Twilio's order: to, from, body, opt-out."""
        to, sender = draft.recipient, draft.sender
        if not to:
            return 21604
        if not _E164.match(to):
            return 21211
        if not sender:
            return 21603
        if not _SENDER.match(sender) and not sender.startswith("MG"):
            return 21212
        if code := _FROM_FAILS.get(sender) or _TO_FAILS.get(to):
            return code
        if to == sender:
            return 21266
        if not draft.text.strip() and not (form.get("MediaUrl") or form.get("ContentSid")):
            return 21602
        if len(draft.text) > BODY_LIMIT_CHARS:
            return 21617
        if (url := form.get("StatusCallback")) and not (_URL.match(url) and len(url) <= URL_LIMIT_CHARS):
            return 21609
        return 21610 if to in self.stopped else None

    def _fetch(self, sid: str) -> Accepted:
        found = self._ledger.by_message(self.name, sid)
        if not found:
            raise Refused(_error(404, 20404))
        return Accepted(json_answer(200, self.resource(found[0])))

    def _resource(self, sid: str, message: Draft | Entry, time: str, *, sent: bool) -> dict[str, object]:
        date = format_datetime(moment(time).replace(microsecond=0))
        uri = f"{API}/{self._account}/Messages/{sid}"
        service = message.sender if message.sender.startswith("MG") else None
        return {
            "account_sid": self._account,
            "api_version": "2010-04-01",
            "body": message.text,
            "date_created": date,
            "date_sent": date if sent else None,
            "date_updated": date,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": None if service else message.sender,
            "messaging_service_sid": service,
            "num_media": "0",
            # With a messaging service the sender is picked later, and Twilio counts then.
            "num_segments": "0" if service else str(segments(message.text)),
            "price": None,
            "price_unit": "USD",
            "sid": sid,
            "status": "sent" if sent else "accepted" if service else "queued",
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message.recipient,
            "uri": f"{uri}.json",
        }


def _form(call: Call) -> dict[str, str]:
    """The form fields; a body of another type holds none, and so misses its To."""
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    return dict(parse_qsl(call.body.decode(errors="replace"), keep_blank_values=True))


def _draft(form: dict[str, str]) -> Draft:
    # Twilio has no field for an id of ours: it rides on the callback.
    ids = dict(parse_qsl(form.get("StatusCallback", "").partition("?")[2]))
    return Draft(
        recipient=form.get("To", ""),
        notification_id=ids.get("notification_id", ""),
        delivery_id=ids.get("delivery_id", ""),
        sender=form.get("From") or form.get("MessagingServiceSid", ""),
        text=form.get("Body", ""),
        callback_url=form.get("StatusCallback", ""),
    )


def _error(status: int, code: int, message: str = "", headers: dict[str, str] | None = None) -> Answer:
    body = {
        "code": code,
        "message": message or _MESSAGES.get(code, "Service unavailable"),
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return json_answer(status, body, headers)
