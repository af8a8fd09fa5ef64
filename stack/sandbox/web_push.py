"""A browsers' push service (RFC 8030), stricter than any: it holds the browsers' keys too, so that it decrypts what
comes and refuses what no browser could read."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stack.sandbox.ledger import Draft
from stack.sandbox.provider import Accepted, Answer, Call, Refused, json_answer
from stack.sandbox.subscriptions import Subscription, Subscriptions
from stack.sandbox.vapid import Unauthorized, Vapid
from stack.sandbox.web_push_crypto import Undecryptable

BODY_LIMIT_BYTES = 4_096

_URGENCIES = frozenset(("very-low", "low", "normal", "high"))
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
_TTL = re.compile(r"[0-9]{1,10}\Z")
_FAILURES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "There is no such subscription",
    410: "The subscription has ended",
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class WebPush:
    """Takes messages for the browsers of `subscriptions`."""

    name = "web_push"

    def __init__(self, subscriptions: Subscriptions, clock: Callable[[], float] = time.time) -> None:
        self._subscriptions = subscriptions
        self._vapid = Vapid(clock)

    def accept(self, call: Call) -> Accepted:
        """Raises Refused with 400, 401, 403, 404, 410 or 413."""
        origin = f"http://{call.headers.get('Host', '')}"
        subscription_id = call.path["subscription"]
        draft = Draft(recipient=f"{origin}/web-push/{subscription_id}")
        subscription = self._subscriptions.get(subscription_id)
        if subscription is None or subscription.gone:
            raise Refused(self.failure(404 if subscription is None else 410), draft)
        self._authorize(call, origin, subscription, draft)
        if problem := _problem(call.headers, call.body):
            raise Refused(_error(400, problem), draft)
        if len(call.body) > BODY_LIMIT_BYTES:
            raise Refused(self.failure(413), draft)
        return self._accepted(call.body, origin, subscription)

    def failure(self, status: int) -> Answer:
        return _error(status, _FAILURES.get(status, "Error"))

    def _authorize(self, call: Call, origin: str, subscription: Subscription, draft: Draft) -> None:
        try:
            sender = self._vapid.sender(call.headers.get("Authorization", ""), origin)
        except Unauthorized as wrong:
            headers = {"WWW-Authenticate": "vapid"} if wrong.status == 401 else {}
            raise Refused(_error(wrong.status, wrong.problem, headers), draft) from None
        if subscription.sender and sender != subscription.sender:
            raise Refused(_error(403, "the browser has subscribed with another applicationServerKey"), draft)

    def _accepted(self, body: bytes, origin: str, subscription: Subscription) -> Accepted:
        recipient = f"{origin}/web-push/{subscription.id}"
        try:
            plain = subscription.keys.decrypt(body) if body else b""
        except Undecryptable as wrong:
            raise Refused(_error(400, f"the browser cannot decrypt it: {wrong}"), Draft(recipient)) from None
        message_id = secrets.token_urlsafe(16)
        location = {"Location": f"{origin}/web-push/messages/{message_id}"}
        return Accepted(Answer(201, headers=location), [_draft(recipient, plain)], message_id)


def _problem(headers: Mapping[str, str], body: bytes) -> str | None:
    """The first header that is missing or wrong."""
    if not _TTL.match(headers.get("TTL", "")):
        return "TTL must be there, in seconds"
    if headers.get("Urgency", "normal") not in _URGENCIES:
        return "Urgency must be very-low, low, normal or high"
    if "Topic" in headers and not _TOPIC.match(headers["Topic"]):
        return "Topic must be up to 32 characters of base64url"
    if body and headers.get("Content-Encoding") != "aes128gcm":
        return "Content-Encoding must be aes128gcm"
    return None


def _draft(recipient: str, plain: bytes) -> Draft:
    """What the message says; JSON with the ids and the title of a notification, if it is that."""
    text = plain.decode(errors="replace")
    try:
        found = msgspec.json.decode(plain, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = {}
    return Draft(
        recipient=recipient,
        notification_id=_text(found, "notification_id"),
        delivery_id=_text(found, "delivery_id"),
        title=_text(found, "title"),
        text=text,
    )


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return json_answer(
        status, {"code": status, "error": _FAILURES.get(status, "Error"), "message": message}, headers
    )
