"""Push by Firebase Cloud Messaging's HTTP v1 API, one call a device, all at the same time. They are sent here and
not by the SDK, which retries out of sight and stops the loop.

| answer                            | for that device                                                        |
| --------------------------------- | ---------------------------------------------------------------------- |
| 200 with a name                   | Delivered                                                              |
| another 2xx                       | Unknown                                                                |
| 404 UNREGISTERED                  | Gone: forgotten                                                        |
| 403 SENDER_ID_MISMATCH            | Gone: its token is of another project                                  |
| 429                               | Snooze, as long as Retry-After says, else a minute                     |
| 429 for the rate of the device    | likewise, and this one alone                                           |
| 500, 503                          | Retry, after Retry-After                                               |
| 401 THIRD_PARTY_AUTH_ERROR        | Retry, alone: the project's key for APNs or Web Push is wrong          |
| 401                               | Retry, with another token                                              |
| 3xx, 403, 404, 408 of another kind | Retry: project or address are wrong, not the message                  |
| another 4xx                       | Discard                                                                |
| another 5xx                       | Unknown                                                                |
| none, nothing written             | Retry                                                                  |
| none, something written           | Unknown                                                                |
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from crown import retry_after
from crown.clock import Clock, now
from crown.http import Answer, CallBroken, Http
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown, error_code
from crown.recipients import Destination
from services.push.fcm.access_token import AccessToken, TokenUnavailable
from services.push.fcm.message import payload
from services.push.message import Message
from services.push.together import Gone

_TOKEN_TIMEOUT_S = 3.0
# What Google asks to wait where a 429 names no time: https://firebase.google.com/docs/cloud-messaging/scale-fcm
_QUOTA_PAUSE_S = 60.0
# A device has a rate of its own; the text of the error is all that tells it from the project's.
_DEVICE_RATE = re.compile(rb"device message rate", re.IGNORECASE)
_ERROR_TYPE = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


class Fcm:
    """FCM for the project of one service account. Give `http` a time limit of 7 s, which with the wait for a
    token makes 10."""

    def __init__(self, http: Http, url: str, project_id: str, token: AccessToken, clock: Clock = now) -> None:
        self._http = http
        self._url = f"{url}/v1/projects/{project_id}/messages:send"
        self._token = token
        self._clock = clock

    async def send(self, message: Message, places: Sequence[Destination]) -> list[Outcome | Gone]:
        """Sends to each of `places`; one result for each, in order."""
        found = payload(message)
        if isinstance(found, Discard):
            return [found] * len(places)
        try:
            async with asyncio.timeout(_TOKEN_TIMEOUT_S):
                token = await self._token.current()
        except (TokenUnavailable, TimeoutError):
            return [Retry("ACCESS_TOKEN_UNAVAILABLE")] * len(places)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        sends = [self._send(found.addressed(place), headers, token) for place in places]
        # Most people have one device, and a task costs as much as a tenth of a call.
        return [await sends[0]] if len(sends) == 1 else await asyncio.gather(*sends)

    async def close(self) -> None:
        """Closes the connections."""
        await self._token.close()
        await self._http.close()

    async def _send(self, body: bytes, headers: Mapping[str, str], token: str) -> Outcome | Gone:
        try:
            answer = await self._http.post(self._url, headers, body)
        except CallBroken as broken:
            return broken.outcome
        found = outcome(answer, self._clock())
        if answer.status == 401 and found == Retry("UNAUTHENTICATED"):
            self._token.reject(token)
        return found


class _Detail(msgspec.Struct, rename={"type": "@type", "code": "errorCode"}):
    type: str = ""
    code: str = ""


class _Error(msgspec.Struct):
    status: str = ""
    details: list[_Detail] = []


class _Body(msgspec.Struct):
    name: str = ""
    error: _Error = msgspec.field(default_factory=_Error)


_decoder = msgspec.json.Decoder(_Body)


def outcome(answer: Answer, moment: datetime) -> Outcome | Gone:
    """What FCM's answer means for one device; the table at the top."""
    body = _read(answer.body)
    # FCM's own word, which only FCM itself says; a proxy's 404 has none and is no word about the device.
    own = next((detail.code for detail in body.error.details if detail.type == _ERROR_TYPE), "")
    error = error_code(own or body.error.status, str(answer.status))
    asked_s = retry_after.seconds(answer.headers.get("Retry-After"), moment)
    match answer.status, own:
        case 200, _ if body.name:
            return Delivered(body.name)
        case (404, "UNREGISTERED") | (403, "SENDER_ID_MISMATCH"):
            return Gone(error)
        case 429, _:
            alone = _DEVICE_RATE.search(answer.body) is not None
            return Snooze(error, _QUOTA_PAUSE_S if asked_s is None else asked_s, alone=alone)
        case 500 | 503, _:
            return Retry(error, asked_s)
        case 401, "THIRD_PARTY_AUTH_ERROR":
            return Retry(error, alone=True)
        case 401, _:
            return Retry("UNAUTHENTICATED")
        case 403 | 404 | 408, _:
            return Retry(error)
        case status, _ if 300 <= status < 400:
            return Retry(error)
        case status, _ if 400 <= status < 500:
            return Discard("PROVIDER_REFUSED", error)
        case _:
            return Unknown(error)


def _read(body: bytes) -> _Body:
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:
        return _Body()
