"""Calls the services that sent notifications, signed by Standard Webhooks (https://www.standardwebhooks.com,
read 2026-11): HMAC-SHA256 over id, time and body. The id is the same for every repetition.

| answer                        | outcome                                                            |
| ----------------------------- | ------------------------------------------------------------------ |
| 2xx                           | Delivered                                                          |
| 410                           | Discard, GONE: nothing more is told about this notification        |
| 429, and 503 with Retry-After | Snooze, as long as Retry-After says                                |
| another, redirects included   | Retry                                                              |
| none, nothing written         | Retry; Discard, ADDRESS_REFUSED, where it may not be called        |
| none, something written       | Unknown, which is told again: its receiver knows it by the id      |
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from datetime import datetime

from crown import retry_after
from crown.clock import Clock, now
from crown.http import Answer, CallBroken, Http
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze
from crown.provider import Attempt
from crown.webhook_secrets import WebhookSecrets, raw

_AGENT = "Crown-Webhooks/1"


class Webhook:
    """Takes what WebhookDesk prepares: one destination, whose id is the sender, and the body as the
    message."""

    name = "webhook"

    def __init__(self, http: Http, secrets: WebhookSecrets, clock: Clock = now) -> None:
        self._http = http
        self._secrets = secrets
        self._clock = clock

    async def send(self, attempt: Attempt) -> Outcome:
        """Tells the sender."""
        (place,) = attempt.destinations
        body = attempt.data.message.encode()
        moment = self._clock()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _AGENT,
            **signed(self._secrets.of(place.id), attempt.delivery_id, int(moment.timestamp()), body),
        }
        try:
            answer = await self._http.post(place.address, headers, body)
        except CallBroken as broken:
            if broken.word == "ADDRESS_REFUSED":
                return Discard(broken.word, "")
            return broken.outcome
        return outcome(answer, moment)

    async def find(self, _attempt: Attempt, _since: datetime) -> Outcome | None:
        """None: nobody can say."""
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()


def signed(secrets: Iterable[str], webhook_id: str, time_s: int, body: bytes) -> dict[str, str]:
    """The headers that prove who sent `body`, and when: seconds since 1970."""
    content = f"{webhook_id}.{time_s}.".encode() + body
    digests = (hmac.digest(raw(secret), content, "sha256") for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(time_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def outcome(answer: Answer, moment: datetime) -> Outcome:
    """What the receiver's answer means; the table at the top."""
    error = str(answer.status)
    after_s = retry_after.seconds(answer.headers.get("Retry-After"), moment)
    match answer.status:
        case status if 200 <= status < 300:
            return Delivered()
        case 410:
            return Discard("GONE", error)
        case 429:
            return Snooze(error, after_s, alone=True)
        case 503 if after_s is not None:
            return Snooze(error, after_s, alone=True)
        case _:
            return Retry(error, after_s)
