"""Who is on which topic. Every message is opened once and encoded once for all who take it in the same form;
what arrives for a topic in one turn of the loop goes out to each in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from crown import logs, metrics, vault
from crown.errors import BusUnavailable, NotReady
from services.realtime.address import Address
from services.realtime.feed import Feed
from services.realtime.live import Event, Position, Resync, Unreadable, read

log = logs.get(__name__)

_MALFORMED = "no sequence"


class Encoding(Protocol):
    """A form in which subscribers take events. Those that share one share what it makes."""

    def encode(self, topic: str, event: Event) -> Any:
        """`event` in this form. Raises Unreadable."""

    def together(self, parts: list[Any]) -> Any:
        """Several that were encoded, as one."""


class Subscriber(Protocol):
    """One who joined a topic."""

    @property
    def encoding(self) -> Encoding:
        """How it takes events."""

    @property
    def deliver(self) -> Callable[[Any], None]:
        """Takes what `encoding` made. Must not raise, nor wait, nor leave a topic."""


class Room:
    """One topic that somebody here is on."""

    __slots__ = ("_lanes", "_waiting", "address", "holders", "locating", "offset", "subscription")

    def __init__(self, address: Address) -> None:
        self.address = address
        # Who is on it, or about to be.
        self.holders = 0
        self.locating = asyncio.Lock()
        self.subscription: Subscription | None = None
        # Of the last event of the topic; None where it is not known.
        self.offset: int | None = None
        self._lanes: dict[Encoding, dict[Subscriber, None]] = {}
        self._waiting: list[Event] = []

    def add(self, subscriber: Subscriber) -> None:
        """Gets what comes from now on."""
        self.flush()
        self._lanes.setdefault(subscriber.encoding, {})[subscriber] = None

    def remove(self, subscriber: Subscriber) -> bool:
        """Gets nothing more. False where it was not on the topic."""
        lane = self._lanes.get(subscriber.encoding, {})
        if subscriber not in lane:
            return False
        del lane[subscriber]
        if not lane:
            del self._lanes[subscriber.encoding]
        return True

    def put(self, event: Event) -> bool:
        """Keeps `event` for the next flush. True where it is the first one kept."""
        self._waiting.append(event)
        return len(self._waiting) == 1

    def flush(self) -> None:
        """Delivers what waits."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for encoding, lane in self._lanes.items():
            parts = self._encode(encoding, waiting)
            if not parts:
                continue
            whole = parts[0] if len(parts) == 1 else encoding.together(parts)
            for subscriber in lane:
                subscriber.deliver(whole)
            metrics.FRAMES.inc(len(parts) * len(lane))

    def _encode(self, encoding: Encoding, events: list[Event]) -> list[Any]:
        parts = []
        for event in events:
            try:
                parts.append(encoding.encode(self.address.topic, event))
            except Unreadable as error:
                log.error("live_event_unreadable", why=str(error))
        return parts


class Hub:
    """The topics of this node. `run` of its feed has to run beside, with `resync`."""

    def __init__(self, feed: Feed, data_key: vault.Key) -> None:
        self._feed = feed
        self._key = data_key
        self._rooms: dict[str, Room] = {}
        self._due: list[Room] = []
        self._draining = False

    async def join(self, address: Address, subscriber: Subscriber) -> Position:
        """Puts `subscriber` on the topic: it gets every event after the position that this answers. Raises
        BusUnavailable; NotReady while the node is going down."""
        if self._draining:
            raise NotReady("this node is going down; connect again")
        room = self._rooms.setdefault(address.topic, Room(address))
        room.holders += 1
        try:
            offset = await self._locate(room)
        except BaseException:
            self._let_go(room)
            raise
        room.add(subscriber)
        return Position(offset, self._feed.epoch)

    def leave(self, topic: str, subscriber: Subscriber) -> None:
        """Takes `subscriber` off the topic; nothing where it is not on it."""
        room = self._rooms.get(topic)
        if room is not None and room.remove(subscriber):
            self._let_go(room)

    def resync(self) -> None:
        """Tells everybody that events may be missing."""
        for room in self._rooms.values():
            room.offset = None
            self._put(room, Resync(self._feed.epoch))

    def drain(self) -> None:
        """Lets nobody join any more."""
        self._draining = True

    async def _locate(self, room: Room) -> int:
        async with room.locating:
            if room.subscription is None:
                room.subscription = await self._feed.open(room.address, partial(self._receive, room))
            if room.offset is None:
                # Asked on the connection that the subscription went out on: the answer is behind it.
                room.offset = max(await self._feed.last_offset(room.address), room.offset or 0)
        if not self._feed.current:
            raise BusUnavailable("the bus was away just now; try again")
        return room.offset

    def _let_go(self, room: Room) -> None:
        room.holders -= 1
        if room.holders:
            return
        del self._rooms[room.address.topic]
        if room.subscription is not None:
            self._feed.close(room.subscription)

    def _receive(self, room: Room, message: Msg) -> None:
        # Runs inside the bus's reader, which an exception would end.
        try:
            self._take(room, message)
        except Unreadable as error:
            log.error("live_event_unreadable", why=str(error))
        except Exception as error:
            log.error("live_event_failed", exc_info=error)

    def _take(self, room: Room, message: Msg) -> None:
        if not self._feed.current:
            return
        headers = message.headers or {}
        try:
            offset, before = int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"])
        except (KeyError, ValueError):
            raise Unreadable(_MALFORMED) from None
        known, room.offset = room.offset, max(offset, room.offset or 0)
        if known is not None and offset <= known:
            return  # a repetition
        if known is not None and before != known:
            self._put(room, Resync(self._feed.epoch))
        self._put(room, read(self._key, message.data, Position(offset, self._feed.epoch)))

    def _put(self, room: Room, event: Event) -> None:
        if not room.put(event):
            return
        self._due.append(room)
        if len(self._due) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        due, self._due = self._due, []
        for room in due:
            room.flush()
