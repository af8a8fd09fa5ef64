"""Twilio's calls: status callbacks, to the address that came with the message, and texts that people send.

Fields: https://www.twilio.com/docs/messaging/guides/webhook-request, read 2026-11.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from stack.sandbox.callback import Callback, Request, Signed, Told
from stack.sandbox.twilio_text import segments

SIGNATURE = "X-Twilio-Signature"
INBOUND_PATH = "/webhooks/twilio/inbound"

_VERSION = "2010-04-01"
# What a phone network answers where a number is not in use.
_ERRORS = {"undelivered": "30005", "failed": "30008"}


class TwilioCallbacks:
    """Calls for the account `key` ("SID:token")."""

    batch = 1
    usual = (Callback("queued", 0.05), Callback("sent", 0.3), Callback("delivered", 0.8))

    def __init__(self, gateway_url: str, key: str) -> None:
        self._account, _, token = key.partition(":")
        self._token = token.encode()
        self._inbound_url = f"{gateway_url}{INBOUND_PATH}"

    def call(self, told: Sequence[Told]) -> Request | None:
        """The call about one message; None where it came without an address."""
        (one,) = told
        if not one.draft.callback_url:
            return None
        form = {
            "ApiVersion": _VERSION,
            "AccountSid": self._account,
            "From": one.draft.sender,
            "MessageSid": one.message_id,
            "MessageStatus": one.event,
            "SmsSid": one.message_id,
            "SmsStatus": one.event,
            "To": one.draft.recipient,
        }
        if code := _ERRORS.get(one.event):
            form["ErrorCode"] = code
        return self._signed(one.draft.callback_url, form, one.signed)

    def inbound(self, number: str, to: str, text: str) -> Request:
        """The call that brings a person's text."""
        sid = "SM" + secrets.token_hex(16)
        form = {
            "ApiVersion": _VERSION,
            "AccountSid": self._account,
            "Body": text,
            "From": number,
            "MessageSid": sid,
            "NumMedia": "0",
            "NumSegments": str(segments(text)),
            "SmsMessageSid": sid,
            "SmsSid": sid,
            "SmsStatus": "received",
            "To": to,
        }
        return self._signed(self._inbound_url, form, "right")

    def _signed(self, url: str, form: Mapping[str, str], signed: Signed) -> Request:
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        if signed != "missing":
            token = b"another token" if signed == "wrong" else self._token
            headers[SIGNATURE] = signature(token, url, form)
        return Request(url, headers, urlencode(form).encode())


def signature(token: bytes, url: str, form: Mapping[str, str]) -> str:
    """What Twilio signs: the address with its query, and each parameter with its value, by name."""
    told = url + "".join(f"{name}{value}" for name, value in sorted(form.items()))
    return base64.b64encode(hmac.digest(token, told.encode(), "sha1")).decode()
