"""One topic that somebody here is on. What is put into it is encoded once for all who take it in the same form,
and goes out to each in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from nats.aio.subscription import Subscription

from crown import logs, metrics
from services.realtime.address import Address
from services.realtime.live import Ephemeral, Event, Live, Notice, Resync, Unreadable

log = logs.get(__name__)


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

    @property
    def id(self) -> str:
        """What events that come from it name as their origin."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A numbered message as the bus brought it: its place, and that of the topic's message before it."""

    offset: int
    before: int
    body: bytes


# Subscribers that share a form and call the topic by the same name, and so get the same bytes.
_Lane = tuple[Encoding, str]


class Room:
    """Who is on the topic, and where it stands."""

    __slots__ = (
        "_catching",
        "_lanes",
        "_notices",
        "_waiting",
        "address",
        "held",
        "holders",
        "last",
        "locating",
        "offset",
        "subscription",
    )

    def __init__(self, address: Address) -> None:
        self.address = address
        # Who is on it, or about to be.
        self.holders = 0
        self.locating: asyncio.Lock | None = None
        self.subscription: Subscription | None = None
        # Everything up to here was put in, or came before anybody was here; None where it is not known.
        self.offset: int | None = None
        # The last event of the topic, 0 where none is known.
        self.last = 0
        # What arrives while a gap is being filled; None where there is no gap.
        self.held: list[Arrival] | None = None
        self._lanes: dict[_Lane, dict[Subscriber, None]] = {}
        self._waiting: list[Event] = []
        self._catching: list[list[Live | Resync]] = []
        self._notices: dict[tuple[Subscriber, str], Callable[[Notice], None]] = {}

    def add(self, subscriber: Subscriber, name: str, notice: Callable[[Notice], None] | None) -> None:
        """Gets what comes from now on, under `name`; `notice` hears what is not for the wire alone."""
        self.flush()
        self._lanes.setdefault((subscriber.encoding, name), {})[subscriber] = None
        if notice is not None:
            self._notices[subscriber, name] = notice

    def remove(self, subscriber: Subscriber, name: str) -> bool:
        """Gets nothing more. False where it was not on the topic."""
        key = (subscriber.encoding, name)
        lane = self._lanes.get(key, {})
        if subscriber not in lane:
            return False
        del lane[subscriber]
        if not lane:
            del self._lanes[key]
        self._notices.pop((subscriber, name), None)
        return True

    def catch(self) -> list[Live | Resync]:
        """A list that gets every event that is put in, until `release`."""
        buffer: list[Live | Resync] = []
        self._catching.append(buffer)
        return buffer

    def release(self, buffer: list[Live | Resync]) -> None:
        """Ends what `catch` began."""
        self._catching = [one for one in self._catching if one is not buffer]

    def put(self, event: Event) -> bool:
        """Keeps `event` for the next flush. True where it is the first one kept."""
        if self._catching and isinstance(event, Live | Resync):
            for buffer in self._catching:
                buffer.append(event)
        self._waiting.append(event)
        return len(self._waiting) == 1

    def notify(self, notice: Notice) -> None:
        """Tells those who asked for it; one of them may leave meanwhile."""
        for hear in list(self._notices.values()):
            hear(notice)

    def flush(self) -> None:
        """Delivers what waits."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for (encoding, name), lane in self._lanes.items():
            sent = _encode(encoding, name, waiting)
            if sent:
                _deliver(encoding, sent, lane)


def _encode(encoding: Encoding, name: str, events: list[Event]) -> list[tuple[str, Any]]:
    """Each event that can be, with its origin."""
    parts = []
    for event in events:
        try:
            origin = event.origin if isinstance(event, Ephemeral) else ""
            parts.append((origin, encoding.encode(name, event)))
        except Unreadable as error:
            log.error("live_event_unreadable", why=str(error))
    return parts


def _deliver(encoding: Encoding, parts: list[tuple[str, Any]], lane: dict[Subscriber, None]) -> None:
    origins = {origin for origin, _ in parts if origin}
    whole = parts[0][1] if len(parts) == 1 else encoding.together([part for _, part in parts])
    if not origins:
        for subscriber in lane:
            subscriber.deliver(whole)
    else:
        for subscriber in lane:
            if subscriber.id not in origins:
                subscriber.deliver(whole)
            elif others := [part for origin, part in parts if origin != subscriber.id]:
                subscriber.deliver(encoding.together(others))
    metrics.FRAMES.inc(len(parts) * len(lane))
