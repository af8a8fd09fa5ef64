"""SendGrid's event webhook: a list of events, signed by ECDSA over timestamp and body.

Fields: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event, read 2026-11.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from stack.sandbox.callback import Callback, Request, Signed, Told

SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"
PATH = "/webhooks/sendgrid"
BATCH = 500
OLD_S = 3_600

_AGENT = {"useragent": "Mozilla/5.0 (sandbox)", "ip": "192.0.2.1"}
_BOUNCE = {
    "reason": "550 5.1.1 The email account that you tried to reach does not exist.",
    "status": "5.1.1",
    "type": "bounce",
}
_DETAILS: Mapping[str, Mapping[str, Any]] = {
    "deferred": {"response": "450 4.2.1 try again later", "attempt": "1"},
    "delivered": {"response": "250 2.0.0 OK"},
    "bounce": _BOUNCE,
    "blocked": {"event": "bounce", "reason": "554 5.7.1 blocked", "status": "5.7.1", "type": "blocked"},
    "dropped": {"reason": "Bounced Address", "status": "5.0.0"},
    "open": {**_AGENT, "sg_machine_open": False},
    "click": {**_AGENT, "url": "https://crown.example/", "url_offset": {"index": 0, "type": "html"}},
    "group_unsubscribe": {**_AGENT, "asm_group_id": 1},
}


class SendGridCallbacks:
    """Calls the gateway. `key` is private, in PEM."""

    batch = BATCH
    usual = (Callback("processed", 0.1), Callback("delivered", 0.5))

    def __init__(self, gateway_url: str, key: bytes, clock: Callable[[], float]) -> None:
        found = serialization.load_pem_private_key(key, None)
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise ValueError("the key of SendGrid's webhook is none of ECDSA")
        self._key = found
        self._url = f"{gateway_url}{PATH}"
        self._clock = clock

    def call(self, told: Sequence[Told]) -> Request:
        """One call with an event for each of `told`."""
        now = int(self._clock())
        body = msgspec.json.encode([_event(one, now) for one in told])
        headers = {"Content-Type": "application/json", **self._signature(body, now, told[0].signed)}
        return Request(self._url, headers, body)

    def _signature(self, body: bytes, now: int, signed: Signed) -> dict[str, str]:
        if signed == "missing":
            return {}
        timestamp = str(now - OLD_S if signed == "old" else now)
        content = timestamp.encode() + (b"something else" if signed == "wrong" else body)
        signature = base64.b64encode(self._key.sign(content, ec.ECDSA(SHA256()))).decode()
        return {SIGNATURE: signature, TIMESTAMP: timestamp}


def _event(told: Told, now: int) -> dict[str, Any]:
    draft = told.draft
    return {
        **dict(draft.args),
        "email": draft.recipient,
        "timestamp": now,
        "event": told.event,
        "sg_event_id": secrets.token_urlsafe(16),
        # Made longer on the way by the machine that handles the mail.
        "sg_message_id": f"{told.message_id}.recvd-sandbox-1",
        "smtp-id": f"<{told.message_id}@sandbox>",
        **_DETAILS.get(told.event, {}),
    }
