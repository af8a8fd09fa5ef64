"""Texts by Twilio. The SDK authenticates and calls; what comes back is judged here, since its exceptions tell no
Retry-After, and what is no JSON escapes it as a ValueError.

| answer                              | outcome                                                              |
| ----------------------------------- | -------------------------------------------------------------------- |
| 2xx with a sid                      | Delivered                                                            |
| another 2xx                         | Unknown                                                              |
| a code that _FINAL names            | Discard, with its reason                                             |
| a code that _OURS names             | Retry: sender or account are set up wrongly, not the text            |
| 429                                 | Snooze, as long as Retry-After says                                  |
| 3xx, 401, 403, 404, 405, 408        | Retry: key, account or address are wrong, not the text               |
| another 4xx                         | Discard                                                              |
| 5xx                                 | Unknown: "a customer may receive multiple messages", error 20500     |
| none, nothing written               | Retry                                                                |
| none, something written             | Unknown                                                              |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

import msgspec
from twilio.rest import Client

from crown import retry_after
from crown.clock import Clock, now
from crown.http import Answer, CallBroken, Http
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from services.sms.numbers import Numbers
from services.sms.text import Texts
from services.sms.twilio.wire import TwilioWire

# By the codes of https://www.twilio.com/docs/api/errors. Twilio adds and splits them now and then: one that is
# not here goes by its status alone.
_FINAL: Mapping[int, str] = {
    **dict.fromkeys((21211, 21217, 21265, 21266, 21614, 21635), "INVALID_NUMBER"),
    21610: "OPTED_OUT",
    21408: "REGION_NOT_ALLOWED",
    21612: "NO_ROUTE",
    **dict.fromkeys((21602, 21617), "INVALID_CONTENT"),
}
_OURS = {21212, 21401, 21601, 21603, 21606, 21608, 21609, 21659, 21660, 21661, 21701, 21703, 21705}
# A call that is younger may still be under way at Twilio: more than the time limit of one.
_SETTLED = timedelta(seconds=15)
# Twilio's times have whole seconds, and its clock is not ours.
_SKEW = timedelta(seconds=5)
# The newest come first, but by a time that is not exactly the one that is compared here.
_ORDER = timedelta(minutes=1)
_LISTED_MOST = 5_000
_PAGE = 200
_FIND_TIMEOUT_S = 10.0


class Twilio:
    """One account at Twilio. Senders are numbers, short codes, names, or SIDs of messaging services."""

    name = "twilio"

    def __init__(
        self,
        http: Http,
        url: str,
        account: tuple[str, str],
        numbers: Numbers,
        texts: Texts,
        status_url: str = "",
        clock: Clock = now,
    ) -> None:
        self._http = http
        # With an environment of its own: TWILIO_REGION and TWILIO_EDGE would lead elsewhere unseen.
        self._client = Client(*account, http_client=TwilioWire(http), environment={"TWILIO_REGION": ""})
        self._origin = url
        self._url = f"{url}/2010-04-01/Accounts/{account[0]}/Messages.json"
        self._numbers = numbers
        self._texts = texts
        self._status_url = status_url
        self._clock = clock

    async def send(self, attempt: Attempt) -> Outcome:
        """Hands the text over."""
        to, body = attempt.destinations[0].address, self._texts.compose(attempt.data)
        form = {"To": to, "Body": body, **self._from(to), **self._callback(attempt)}
        try:
            response = await self._client.request_async("POST", self._url, data=form)
        except CallBroken as broken:
            return broken.outcome
        answer = Answer(response.status_code, response.headers or {}, response.text.encode())
        return outcome(answer, self._clock())

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        """Delivered where Twilio lists the text, Retry where it does not; None where that cannot be asked, or
        the call may still be under way. A second text of the same words to the same number within seconds
        counts as this one: the person has read it."""
        if self._clock() - since < _SETTLED:
            return None
        body, seen = self._texts.compose(attempt.data), 0
        try:
            async with asyncio.timeout(_FIND_TIMEOUT_S):
                async for texts in self._pages(attempt.destinations[0].address):
                    for text in texts:
                        if text.body == body and text.time >= since - _SKEW:
                            return Delivered(text.sid)
                    if texts and texts[-1].time < since - _ORDER:
                        break
                    seen += len(texts)
                    if seen >= _LISTED_MOST:
                        return None
        except (CallBroken, TimeoutError, ValueError, msgspec.MsgspecError):
            return None
        return Retry("NOT_LISTED")

    async def _pages(self, to: str) -> AsyncIterator[list[_Text]]:
        """The texts to a number, the newest first. Raises CallBroken, and ValueError or MsgspecError for
        an answer that is no list."""
        # Not by DateSent: a text that is still queued has none.
        url, query = self._url, {"To": to, "PageSize": str(_PAGE)}
        while url:
            response = await self._client.request_async("GET", url, params=query)
            if response.status_code != 200:
                raise ValueError(response.status_code)
            page = msgspec.json.decode(response.text, type=_Page)
            yield page.messages
            path = page.next_page_uri or ""
            url, query = f"{self._origin}{path}" if path.startswith("/") else "", {}

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    def _from(self, to: str) -> dict[str, str]:
        sender = self._numbers.sender(self._numbers.country(to))
        return {"MessagingServiceSid" if sender.startswith("MG") else "From": sender}

    def _callback(self, attempt: Attempt) -> dict[str, str]:
        if not self._status_url:
            return {}
        # Twilio has no field for ids of ours, but gives this address back.
        ids = urlencode({"notification_id": attempt.notification_id, "delivery_id": attempt.delivery_id})
        return {"StatusCallback": f"{self._status_url}{'&' if '?' in self._status_url else '?'}{ids}"}


class _Text(msgspec.Struct):
    sid: str
    body: str
    date_created: str

    @property
    def time(self) -> datetime:
        """When Twilio took it, to the second. Raises ValueError."""
        moment = parsedate_to_datetime(self.date_created)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class _Page(msgspec.Struct):
    messages: list[_Text]
    next_page_uri: str | None = None


class _Body(msgspec.Struct):
    sid: str | None = None
    code: int | None = None


_decoder = msgspec.json.Decoder(_Body)


def outcome(answer: Answer, moment: datetime) -> Outcome:
    """What Twilio's answer means; the table at the top."""
    body = _read(answer.body)
    error = str(body.code or answer.status)
    match answer.status:
        case status if 200 <= status < 300:
            return Delivered(body.sid) if body.sid else Unknown(error)
        case 429:
            return Snooze(error, retry_after.seconds(answer.headers.get("Retry-After"), moment))
        case status if status >= 500:
            return Unknown(error)
        case _ if (code := body.code or 0) in _FINAL:
            return Discard(_FINAL[code], error)
        case _ if code in _OURS:
            return Retry(error)
        case 401 | 403 | 404 | 405 | 408:
            return Retry(error)
        case status if 400 <= status < 500:
            return Discard("PROVIDER_REFUSED", error)
        case _:
            return Retry(error)


def _read(body: bytes) -> _Body:
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:
        return _Body()
