"""Push to browsers directly, by the Web Push protocol (RFC 8030): encrypted for the browser, signed by us, one call a
subscription, all at the same time. Endpoints come from outside, so `http` must call only where it is allowed.

| answer                        | for that browser                                                            |
| ----------------------------- | --------------------------------------------------------------------------- |
| 201, 200, 202                 | Delivered; the message's id is the end of its Location                      |
| another 2xx                   | Unknown                                                                     |
| 404, 410                      | Gone: the subscription ended, forgotten                                     |
| 413                           | Discard, PAYLOAD_TOO_LARGE                                                  |
| 429                           | Snooze, as long as Retry-After says, else a minute                          |
| 401, 403                      | Retry: our signature is not taken, or the browser subscribed with another key |
| 400 with the word for that    | Retry, likewise                                                             |
| 3xx, 408                      | Retry: something stands in between                                          |
| another 4xx, 400 among them   | Discard: the message, or the subscription, is not understood                |
| 500, 503                      | Retry, after Retry-After: not taken                                         |
| another 5xx                   | Unknown: said by something in between, which may have handed it on          |
| none, nothing written         | Retry                                                                       |
| none, something written       | Unknown                                                                     |
| not asked: host not allowed   | Discard: the list of hosts was another when it subscribed                   |
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime

from crown import retry_after
from crown.clock import Clock, now
from crown.egress import Egress
from crown.http import Answer, CallBroken, Http
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.recipients import Destination
from services.push.message import TTL_MOST, Message
from services.push.together import Gone
from services.push.web_push.crypto import encrypt
from services.push.web_push.message import payload
from services.push.web_push.vapid import Vapid

_BUSY_PAUSE_S = 60.0
_MESSAGE_ID_MOST_CHARS = 200
# What Apple and Google say where a browser subscribed with another key than ours.
_OTHER_KEY = re.compile(rb"VapidPkHashMismatch|UnauthorizedRegistration")


class WebPush:
    """Browsers' push services, as far as `egress` allows. Give `http` the same `egress`."""

    def __init__(self, http: Http, egress: Egress, vapid: Vapid, clock: Clock = now) -> None:
        self._http = http
        self._egress = egress
        self._vapid = vapid
        self._clock = clock

    async def send(self, message: Message, places: Sequence[Destination]) -> list[Outcome | Gone]:
        """Sends to each of `places`; one result for each, in order."""
        plain = payload(message)
        if isinstance(plain, Discard):
            return [plain] * len(places)
        headers = _headers(message)
        return await asyncio.gather(*(self._send(plain, headers, place) for place in places))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    async def _send(self, plain: bytes, headers: dict[str, str], to: Destination) -> Outcome | Gone:
        if self._egress.problem(to.address):
            return Discard("PROVIDER_REFUSED", "HOST_NOT_ALLOWED")
        try:
            body = encrypt(plain, to.p256dh, to.auth)
        except ValueError:
            return Discard("PROVIDER_REFUSED", "KEYS_INVALID")
        signed = {**headers, "Authorization": self._vapid.authorization(to.address)}
        try:
            answer = await self._http.post(to.address, signed, body)
        except CallBroken as broken:
            return broken.outcome
        return outcome(answer, self._clock())


def _headers(message: Message) -> dict[str, str]:
    ttl = TTL_MOST if message.ttl is None else message.ttl
    return {
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(int(ttl.total_seconds())),
        "Urgency": str(message.urgency),
        # Takes the place of what waits for the browser under the same topic.
        "Topic": message.collapse_id,
    }


def outcome(answer: Answer, moment: datetime) -> Outcome | Gone:
    """What a push service's answer means for one browser; the table at the top."""
    word = str(answer.status)
    asked_s = retry_after.seconds(answer.headers.get("Retry-After"), moment)
    match answer.status:
        case 200 | 201 | 202:
            return Delivered(_message_id(answer.headers.get("Location", "")))
        case 404 | 410:
            return Gone(word)
        case 413:
            return Discard("PAYLOAD_TOO_LARGE", word)
        case 429:
            return Snooze(word, _BUSY_PAUSE_S if asked_s is None else asked_s)
        case 400 if _OTHER_KEY.search(answer.body):
            return Retry("VAPID_REFUSED")
        case 401 | 403:
            return Retry("VAPID_REFUSED")
        case 500 | 503:
            return Retry(word, asked_s)
        case status if status == 408 or 300 <= status < 400:
            return Retry(word)
        case status if 400 <= status < 500:
            return Discard("PROVIDER_REFUSED", word)
        case _:
            return Unknown(word)


def _message_id(location: str) -> str:
    """The last part of the message's own address. Not all of it: who knows that can withdraw the message."""
    return location.rstrip("/").rpartition("/")[2][:_MESSAGE_ID_MOST_CHARS]
