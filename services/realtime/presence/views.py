"""Answers who is on a topic: what the board has of other nodes, and what this node holds itself. Those who ask at
about the same time share one reading, which never begins before they asked: whoever joined the topic and then asks
has heard of everything that the reading missed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from crown.breaker import Away
from crown.gather import Gather
from services.realtime.presence.board import Figures, Record, View
from services.realtime.presence.diff import COUNT, DIFF, STATE, Payload, Row, apply, state

# Topics that are read in one step.
_AT_ONCE = 50
_RECORD = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()

Event = tuple[str, Payload]
Encoded = tuple[str, msgspec.Raw]


class _Reading:
    """One reading of a topic, and what was last made of it, for those who share it."""

    __slots__ = ("encoded", "version", "view")

    def __init__(self, view: View | None) -> None:
        # None: the board is away.
        self.view = view
        self.encoded: list[Encoded] = []
        self.version = -1


class Views:
    """The topics, as seen from this node. `held` answers what it holds of a topic, `crowded` whether the topic was
    crowded when that was last seen, `version` a number that grows with every change of this node."""

    def __init__(
        self,
        read: Callable[[Sequence[str]], Awaitable[list[View]]],
        held: Callable[[str], Iterable[Row]],
        crowded: Callable[[str], bool],
        version: Callable[[], int],
        figures: Figures,
    ) -> None:
        self._read_board = read
        self._held = held
        self._crowded = crowded
        self._version = version
        self._figures = figures
        self._next: dict[str, float] = {}
        self._ears: dict[str, list[list[Event]]] = {}
        self._read: Gather[str, _Reading] = Gather(self._read_many, most=4_096)
        # Topics of which less was answered than there may be, since the board was away.
        self.partial: set[str] = set()

    async def encoded(self, topic: str) -> list[Encoded]:
        """What one who joined `topic` is to be sent, in order. Nothing was heard that is not in it, so it has
        to be sent in the same step."""
        reading, heard = await self._listen_and_read(topic)
        if reading.view is None:
            self.partial.add(topic)
        if heard:
            return _encode(self._events(topic, reading.view, heard))
        if reading.version != self._version():
            reading.encoded = _encode(self._events(topic, reading.view, heard))
            reading.version = self._version()
        return reading.encoded

    async def plain(self, topic: str) -> list[Event]:
        """The same for everybody, not encoded. Raises Away."""
        reading, heard = await self._listen_and_read(topic)
        if reading.view is None:
            raise Away("the board is away")
        return self._events(topic, reading.view, heard)

    def heard(self, topic: str, event: str, payload: bytes | msgspec.Raw) -> None:
        """This JSON was just told to everybody on `topic`."""
        if ears := self._ears.get(topic):
            told = msgspec.json.decode(payload)
            for ear in ears:
                ear.append((event, told))

    async def _listen_and_read(self, topic: str) -> tuple[_Reading, list[Payload]]:
        while True:
            with self._listening(topic) as ear:
                reading = await self._read_spaced(topic)
            # A state that everybody was told meanwhile says that the topic turned: this reading may be older.
            if all(event != STATE for event, _ in ear):
                return reading, [payload for event, payload in ear if event == DIFF]

    @contextmanager
    def _listening(self, topic: str) -> Iterator[list[Event]]:
        ear: list[Event] = []
        ears = self._ears.setdefault(topic, [])
        ears.append(ear)
        try:
            yield ear
        finally:
            # By identity: two that heard the same are equal.
            ears[:] = [other for other in ears if other is not ear]
            if not ears:
                self._ears.pop(topic, None)

    async def _read_spaced(self, topic: str) -> _Reading:
        loop = asyncio.get_running_loop()
        wait = self._next.get(topic, 0.0) - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        spacing = self._figures.spacing_s
        self._next[topic] = until = loop.time() + spacing
        loop.call_later(spacing, self._forget, topic, until)
        try:
            return await self._read(topic)
        except Away:
            return _Reading(None)

    def _forget(self, topic: str, until: float) -> None:
        if self._next.get(topic) == until:
            del self._next[topic]

    async def _read_many(self, topics: list[str]) -> list[_Reading]:
        asked = list(dict.fromkeys(topics))
        found: dict[str, _Reading] = {}
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            views = await self._read_board(some)
            found.update((topic, _Reading(view)) for topic, view in zip(some, views, strict=True))
        return [found[topic] for topic in topics]

    def _events(self, topic: str, view: View | None, heard: Iterable[Payload]) -> list[Event]:
        held = list(self._held(topic))
        if view is None:
            if self._crowded(topic) or len(held) > self._figures.crowd:
                return _crowd(len({row.key for row in held}))
            return [(STATE, state(held))]
        if view.crowded:
            return _crowd(view.people)
        rows = {row.ref: row for row in map(_row, view.records)}
        for payload in heard:
            apply(rows, payload)
        # What this node knows of itself goes before what was read or heard.
        rows.update((row.ref, row) for row in held)
        return [(STATE, state(rows.values()))]


def _crowd(people: int) -> list[Event]:
    return [(STATE, {}), (COUNT, {"count": people})]


def _encode(events: Iterable[Event]) -> list[Encoded]:
    return [(event, msgspec.Raw(_ENCODER.encode(payload))) for event, payload in events]


def _row(record: bytes) -> Row:
    found = _RECORD.decode(record)
    return Row(found.at, found.ref, found.key, found.meta)
