"""Brings callbacks to the gateway: each when it is due, signed by its provider's caller, again where nobody answers.

Only this machine and the gateway are called, whatever address comes with a message: what people are told goes nowhere
else by mistake.
"""

from __future__ import annotations

import asyncio
import heapq
import ipaddress
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec

from stack.sandbox.callback import Callback, Caller, Request, Told
from stack.sandbox.ledger import Draft
from stack.stamps import stamp

KEPT = 10_000
"""Callbacks that can still be read, and messages that can still be told about."""

_AT_ONCE = 32
_LIMIT = aiohttp.ClientTimeout(total=10)
# Seconds before each further try. Providers go on for longer; no test wants to wait for that.
_AGAIN_S = (1.0, 2.0, 4.0, 8.0)
_BODY_LIMIT_BYTES = 4_096


class Sent(msgspec.Struct):
    """A callback, and what became of it. `status` is the answer's, 0 while there is none."""

    seq: int
    provider: str
    event: str
    signed: str
    message_id: str
    delivery_id: str
    recipient: str
    due: str
    state: Literal["waiting", "taken", "refused", "lost", "unwanted"] = "waiting"
    status: int = 0
    tries: int = 0
    time: str = ""


class Query(msgspec.Struct, frozen=True):
    """Which callbacks to read; empty strings match all."""

    provider: str = ""
    message_id: str = ""
    delivery_id: str = ""
    after: int = 0
    limit: int = 1_000


@dataclass(frozen=True, slots=True)
class _Due:
    caller: Caller
    told: Told
    sent: Sent


class Postman:
    """`callers` are the providers that call back; with `usual`, they tell the usual of every message. Times in
    seconds since 1970."""

    def __init__(
        self,
        callers: Mapping[str, Caller],
        gateway_url: str = "",
        *,
        usual: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._callers = dict(callers)
        self._gateway = _origin(gateway_url)
        self._usual = usual
        self._clock = clock
        self._queue: list[tuple[float, int, _Due]] = []
        self._log: deque[Sent] = deque(maxlen=KEPT)
        self._messages: dict[tuple[str, str], Sequence[Draft]] = {}
        self._count = 0
        self._woken = asyncio.Event()
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._http: aiohttp.ClientSession | None = None

    def expect(
        self, provider: str, drafts: Sequence[Draft], message_id: str, scripted: Sequence[Callback] | None
    ) -> None:
        """A message was taken: what will be told of it, `scripted` or the usual."""
        caller = self._callers.get(provider)
        if caller is None:
            return
        self._messages[provider, message_id] = drafts
        if len(self._messages) > KEPT:
            del self._messages[next(iter(self._messages))]
        wanted = scripted if scripted is not None else caller.usual if self._usual else ()
        for callback in wanted:
            self._plan(provider, caller, drafts, message_id, callback)

    def tell(self, provider: str, message_id: str, callback: Callback) -> int:
        """Tells of a message that was taken before; how many callbacks that makes, 0 where it is not known."""
        drafts = self._messages.get((provider, message_id), ())
        if drafts:
            self._plan(provider, self._callers[provider], drafts, message_id, callback)
        return len(drafts) * callback.times

    def log(self, query: Query) -> list[Sent]:
        """The asked-for callbacks, oldest first, the last `limit` of them."""
        found = [sent for sent in self._log if _matches(sent, query)]
        return found[-query.limit :] if query.limit else []

    def clear(self, provider: str | None = None) -> None:
        """Forgets what was told and is still to be told; of one provider, where it is named."""
        gone = [provider] if provider else list(self._callers)
        self._queue = [one for one in self._queue if one[2].sent.provider not in gone]
        heapq.heapify(self._queue)
        self._log = deque((one for one in self._log if one.provider not in gone), maxlen=KEPT)
        self._messages = {key: value for key, value in self._messages.items() if key[0] not in gone}

    async def run(self) -> None:
        """Delivers until cancelled."""
        async with aiohttp.ClientSession(timeout=_LIMIT) as self._http, asyncio.TaskGroup() as group:
            while True:
                await self._until_due()
                for batch in self._due():
                    await self._free.acquire()
                    group.create_task(self._deliver(batch))

    async def post(self, request: Request) -> tuple[int, str]:
        """Sends at once, once; status and body of the answer, status 0 where there is none. Only while `run`
        runs."""
        if self._http is None or not self._may_call(request.url):
            return 0, ""
        try:
            async with self._http.post(
                request.url, data=request.body, headers=request.headers, allow_redirects=False
            ) as answer:
                body = await answer.content.read(_BODY_LIMIT_BYTES)
                return answer.status, body.decode(errors="replace")
        except (aiohttp.ClientError, OSError, ValueError):
            return 0, ""

    def _plan(
        self, provider: str, caller: Caller, drafts: Sequence[Draft], message_id: str, callback: Callback
    ) -> None:
        due = self._clock() + callback.after_s
        for draft in (draft for draft in drafts for _ in range(callback.times)):
            self._count += 1
            sent = Sent(
                seq=self._count,
                provider=provider,
                event=callback.event,
                signed=callback.signed,
                message_id=message_id,
                delivery_id=draft.delivery_id,
                recipient=draft.recipient,
                due=stamp(due),
            )
            self._log.append(sent)
            told = Told(callback.event, message_id, draft, callback.signed)
            self._put(due, _Due(caller, told, sent))

    def _put(self, due: float, one: _Due) -> None:
        heapq.heappush(self._queue, (due, one.sent.seq, one))
        self._woken.set()

    async def _until_due(self) -> None:
        """Returns when a callback is due."""
        while not self._queue or self._queue[0][0] > self._clock():
            self._woken.clear()
            wait_s = self._queue[0][0] - self._clock() if self._queue else None
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _due(self) -> Iterator[list[_Due]]:
        """What is due, in calls: those next to each other that one call can tell together."""
        now, batch = self._clock(), list[_Due]()
        while self._queue and self._queue[0][0] <= now:
            one = heapq.heappop(self._queue)[2]
            if batch and not _together(batch, one):
                yield batch
                batch = []
            batch.append(one)
        if batch:
            yield batch

    async def _deliver(self, batch: list[_Due]) -> None:
        try:
            request = batch[0].caller.call([one.told for one in batch])
            status = (await self.post(request))[0] if request and self._may_call(request.url) else None
        finally:
            self._free.release()
        for one in batch:
            self._settle(one, status)

    def _settle(self, one: _Due, status: int | None) -> None:
        sent, now = one.sent, self._clock()
        if status is None:
            sent.state = "unwanted"
            return
        sent.status, sent.time = status, stamp(now)
        sent.tries += 1
        again = 0 < status < 500 or sent.tries > len(_AGAIN_S)
        if 200 <= status < 300:
            sent.state = "taken"
        elif again:
            sent.state = "refused" if status else "lost"
        else:
            self._put(now + _AGAIN_S[sent.tries - 1], one)

    def _may_call(self, url: str) -> bool:
        try:
            return _origin(url) == self._gateway or _is_local(url)
        except ValueError:
            return False


def _together(batch: Sequence[_Due], one: _Due) -> bool:
    first = batch[0]
    return (
        len(batch) < first.caller.batch
        and one.caller is first.caller
        and one.told.signed == first.told.signed
    )


def _matches(sent: Sent, query: Query) -> bool:
    return (
        sent.seq > query.after
        and query.provider in ("", sent.provider)
        and query.message_id in ("", sent.message_id)
        and query.delivery_id in ("", sent.delivery_id)
    )


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
