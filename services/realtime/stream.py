"""What waits for one caller who reads at their own pace, whether gRPC or a page of events carries it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from crown import auth, logs
from crown.auth import Principal
from crown.errors import BusUnavailable, CrownError, NotReady, Unauthenticated
from crown.live_position import Position
from crown.notification.v1 import realtime_service_pb2
from crown.revocations import Disconnect
from services.realtime import address
from services.realtime.hub import Hub, Joined
from services.realtime.live import Event, Resync, Unreadable

log = logs.get(__name__)

# Most events that wait for a caller who does not read.
WAITING_MOST = 1_000

T = TypeVar("T")


class Form(Protocol[T]):
    """An Encoding whose parts are lists; None in them says that events may be missing."""

    def encode(self, topic: str, event: Event) -> list[T | None]:
        """See Encoding."""

    def together(self, parts: list[Any]) -> list[T | None]:
        """See Encoding."""


class Responses:
    """Events as the messages of Subscribe."""

    def encode(self, topic: str, event: Event) -> list[realtime_service_pb2.SubscribeResponse | None]:
        """See Form."""
        del topic
        return [None if isinstance(event, Resync) else event.response()]

    def together(self, parts: list[Any]) -> list[realtime_service_pb2.SubscribeResponse | None]:
        """See Form."""
        return [response for part in parts for response in part]


class Backlog(Generic[T]):
    """What waits for one caller."""

    # See Subscriber: no event comes from it.
    id = ""

    def __init__(self, form: Form[T], principal: Principal = auth.NOBODY) -> None:
        self.encoding = form
        self.principal = principal
        self._waiting: list[T] = []
        self._wake = asyncio.Event()
        self._over: CrownError | None = None

    def deliver(self, items: list[T | None]) -> None:
        """See Subscriber."""
        if self._over is not None:
            return
        for item in items:
            if item is None:
                self.end(BusUnavailable("the bus was away and events may be missing; subscribe again"))
                return
            self._waiting.append(item)
        if len(self._waiting) > WAITING_MOST:
            self._waiting.clear()
            self.end(NotReady("the stream is read too slowly; subscribe again"))
        self._wake.set()

    def end(self, why: CrownError) -> None:
        """Ends the stream with an error, behind what waits."""
        self._over = self._over or why
        self._wake.set()

    async def read(self) -> list[T]:
        """What has come since, at least one. Raises CrownError once it is over."""
        while not self._waiting:
            if self._over is not None:
                raise self._over
            self._wake.clear()
            await self._wake.wait()
        found, self._waiting = self._waiting, []
        return found


class Streams:
    """The streams of this node."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._open: set[Backlog[Any]] = set()
        self._draining = False

    @asynccontextmanager
    async def opened(
        self, user_id: str, form: Form[T], since: Position | None
    ) -> AsyncIterator[tuple[Joined, Backlog[T]]]:
        """A person's events for the present caller, with what they missed after `since`; as long as their token
        is good. Raises BusUnavailable and NotReady."""
        stream = Backlog(form, auth.caller())
        # Before anything is awaited: their token may be revoked meanwhile.
        self._open.add(stream)
        try:
            async with self._joined(user_id, stream, since) as joined:
                yield joined, stream
        finally:
            self._open.discard(stream)

    @asynccontextmanager
    async def _joined(
        self, user_id: str, stream: Backlog[T], since: Position | None
    ) -> AsyncIterator[Joined]:
        where = address.user(user_id)
        joined = await self._hub.join(where, stream, since)
        # In the same step: what is new has to come behind what was missed.
        for event in joined.missed:
            stream.deliver(_encoded(stream.encoding, where.topic, event))
        left_s = stream.principal.expires + auth.LEEWAY_S - time.time()
        expiry = asyncio.get_running_loop().call_later(left_s, stream.end, _expired())
        if self._draining:
            stream.end(_going())
        try:
            yield joined
        finally:
            expiry.cancel()
            self._hub.leave(where.topic, stream)

    def end(self, whose: Callable[[Principal], bool], why: CrownError) -> None:
        """Ends the streams of some callers."""
        for stream in self._open:
            if whose(stream.principal):
                stream.end(why)

    def cut_off(self, what: Disconnect) -> None:
        """Ends the streams of a person, or of one session of theirs."""
        self.end(what.concerns, _revoked() if what.revoked else _again())

    def withdraw(self, key_ids: frozenset[str]) -> None:
        """Ends the streams of those whose tokens these keys signed: they are no longer believed."""
        self.end(lambda principal: principal.key_id in key_ids, _revoked())

    def drain(self) -> None:
        """Ends every stream, so that its reader goes to another node."""
        self._draining = True
        self.end(lambda _: True, _going())


def _encoded(form: Form[T], topic: str, event: Event) -> list[T | None]:
    try:
        return form.encode(topic, event)
    except Unreadable as error:
        log.error("live_event_unreadable", why=str(error))
        return []


def _going() -> CrownError:
    return NotReady("this node is going down; subscribe again")


def _again() -> CrownError:
    return NotReady("subscribe again")


def _revoked() -> CrownError:
    return Unauthenticated("the token was revoked")


def _expired() -> CrownError:
    return Unauthenticated("the token has expired")
