"""Who is on which topic, and that nobody has a hole they do not know of. Every numbered event names the one before
it: what is missing is read from the stream and put in order, and where that cannot be done whole, everybody on
the topic is told to read the inbox. What arrives for a topic in one turn of the loop goes out to each in one
write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from nats.aio.msg import Msg

from crown import logs, metrics, subjects, vault
from crown.bus.direct import SUBJECTS_MOST, sequence
from crown.errors import BusUnavailable, NotReady
from crown.live_position import Position
from services.realtime import address as addresses
from services.realtime.address import Address
from services.realtime.feed import Feed, Standing
from services.realtime.live import (
    INBOX_EVENTS,
    Announcement,
    Ephemeral,
    Event,
    Live,
    Notice,
    Resync,
    Stale,
    Unreadable,
    ephemeral_body,
    read,
    read_ephemeral,
)
from services.realtime.room import Arrival, Room, Subscriber
from services.realtime.tasks import Spawn

log = logs.get(__name__)

# Seconds between two comparisons of every topic here with the stream.
COMPARE_PERIOD_S = 10.0
# Seconds that an event may take from the stream to here before it counts as missing.
_IN_FLIGHT_S = 1.0
_COMPARED_AT_ONCE = SUBJECTS_MOST // 2
_PRESENCE = "presence_"
_PERSON = "user:"
_TRIES = 5
_RETRY_S = 0.5
# Events that may arrive while a gap is being filled.
_HELD_MOST = 2_000
_KEPT_MOST = subjects.LIVE_KEPT_EACH


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to a join. `missed` are the events since the position that the subscriber named, whole and in
    order, where `recovered`; everything after them comes by itself. `position` is where the subscriber stands
    before it has taken `missed`."""

    position: Position
    recovered: bool = False
    missed: list[Live] = field(default_factory=list)


class Hub:
    """The topics of this node. `run` of its feed has to run beside, with `reconnected`, and `watch`. `spawn` runs
    what cannot be done at once."""

    def __init__(self, feed: Feed, data_key: vault.Key, spawn: Spawn) -> None:
        self._feed = feed
        self._key = data_key
        self._spawn = spawn
        self._rooms: dict[str, Room] = {}
        self._due: list[Room] = []
        self._draining = False
        self._compared = -1
        self._changed: Callable[[str], None] = _ignore
        self._seen: Callable[[str, str, Any], None] = _pass_over

    def __len__(self) -> int:
        """How many topics somebody here is on."""
        return len(self._rooms)

    def on_inbox_change(self, action: Callable[[str], None]) -> None:
        """Calls `action` with the topic of each person here whose inbox has changed. It must not raise."""
        self._changed = action

    def on_presence(self, action: Callable[[str, str, Any], None]) -> None:
        """Calls `action` with the topic, event and payload, as JSON, of what everybody on a topic here is about to
        be told about who is on it. It must not raise."""
        self._seen = action

    def stale(self, topic: str) -> None:
        """What those who are on `topic` here know about who is on it may not be whole."""
        room = self._rooms.get(topic)
        if room is not None:
            room.notify(Stale())

    async def join(
        self,
        address: Address,
        subscriber: Subscriber,
        since: Position | None = None,
        *,
        name: str = "",
        notice: Callable[[Notice], None] | None = None,
    ) -> Joined:
        """Puts `subscriber` on the topic, which it calls by `name`. It gets every event after the answer; what
        the answer says was missed has to be sent in the same step, before anything else is awaited. Raises
        BusUnavailable; NotReady while the node is going down."""
        if self._draining:
            raise NotReady("this node is going down; connect again")
        room = self._rooms.get(address.topic)
        if room is None:
            room = self._rooms[address.topic] = Room(address)
        room.holders += 1
        try:
            offset = await self._locate(room)
            joined = Joined(Position(offset, self._feed.epoch))
            if since is not None and since.epoch == self._feed.epoch:
                joined = await self._catch_up(room, since.offset)
        except BaseException:
            self._let_go(room)
            raise
        room.add(subscriber, name or address.topic, notice)
        return joined

    def leave(self, topic: str, subscriber: Subscriber, name: str = "") -> None:
        """Takes `subscriber` off the topic; nothing where it is not on it."""
        room = self._rooms.get(topic)
        if room is not None and room.remove(subscriber, name or topic):
            self._let_go(room)

    async def publish_ephemeral(
        self, topic: str, event: str, payload: dict[str, Any] | bytes, origin: str = ""
    ) -> None:
        """Sends an event, with an object or bytes, to who is on `topic` at this moment, on any node, but not to
        `origin`. Raises BusUnavailable."""
        body = ephemeral_body(self._key, event, payload, origin)
        await self._feed.tell(addresses.of(topic), body)

    def tell_here(self, topic: str, event: str, payload: dict[str, Any]) -> None:
        """Sends an event to who is on `topic` on this node."""
        room = self._rooms.get(topic)
        if room is not None:
            self._put(room, Ephemeral(event, payload))

    def occupied(self, topic: str) -> bool:
        """Whether somebody here is on `topic`."""
        return topic in self._rooms

    def people_here(self) -> list[str]:
        """The topics of people that somebody here is on."""
        return [topic for topic in self._rooms if topic.startswith(_PERSON)]

    def announce_here(self, topic: str, announcement: Announcement) -> None:
        """Sends what is for everybody to who is on `topic` on this node."""
        room = self._rooms.get(topic)
        if room is not None:
            self._put(room, announcement)

    def reconnected(self, same_epoch: bool) -> None:
        """After the bus was away: looks for what was missed; in another epoch everybody reads the inbox."""
        self._compared = -1
        if not same_epoch:
            for room in self._rooms.values():
                self._forget(room)
        else:
            # Events without a number may have been lost as well, and nobody can say which.
            for topic in list(self._rooms):
                self.stale(topic)
        self._spawn(self.compare())

    async def watch(self) -> None:
        """Compares every topic with the stream again and again, until it is cancelled: an event that is lost on
        its way here and followed by no other would never be missed."""
        while True:
            await asyncio.sleep(COMPARE_PERIOD_S)
            try:
                await self.compare()
            except BusUnavailable as error:
                log.warning("compare_waits", error=error.message)

    async def compare(self) -> None:
        """Compares every topic here with the stream, and fills the gaps. Raises BusUnavailable."""
        bounds = await self._feed.bounds()
        if bounds.last == self._compared:
            return  # nothing has come since
        rooms = iter(list(self._rooms.values()))
        while part := list(islice(rooms, _COMPARED_AT_ONCE)):
            found = await asyncio.gather(*(self._feed.standing(room.address) for room in part))
            # Asked last: what is still there now was there all the time.
            first = (await self._feed.bounds()).first
            self._settle(dict(zip(part, found, strict=True)), first)
        self._compared = bounds.last

    def drain(self) -> None:
        """Lets nobody join any more."""
        self._draining = True

    # -- joining

    async def _locate(self, room: Room) -> int:
        if room.locating is None:
            room.locating = asyncio.Lock()
        async with room.locating:
            if room.subscription is None:
                room.subscription = await self._feed.open(room.address, partial(self._receive, room))
            if room.offset is None:
                # Asked on the connection that the subscription went out on: the answer is behind it.
                found = await self._feed.standing(room.address)
                room.last = max(found.last, room.last)
                room.offset = max(found.offset, room.offset or 0)
        if not self._feed.current:
            raise BusUnavailable("the bus was away just now; try again")
        return room.offset

    async def _catch_up(self, room: Room, since: int) -> Joined:
        """What was missed since `since`, up to this very step. What is put into the room meanwhile is caught:
        the stream is read only up to where the room stood before."""
        stood, buffer = room.offset or 0, room.catch()
        try:
            kept, whole = await self._since(room, since)
        finally:
            room.release(buffer)
        missed = self._read(message for message in kept if since < sequence(message) <= stood)
        for event in buffer:
            if isinstance(event, Resync):
                whole = False
            elif event.position.offset > since:
                missed.append(event)
        present = room.offset if room.offset is not None else stood
        if not whole or not self._feed.current:
            return Joined(Position(present, self._feed.epoch))
        # A subscriber that is cut off before it has taken them all has to come back with the same position.
        position = Position(since if missed else max(since, present), self._feed.epoch)
        return Joined(position, recovered=True, missed=missed)

    async def _since(self, room: Room, since: int) -> tuple[list[Msg], bool]:
        """The topic's events after `since`, and whether they are all that there ever were."""
        if since > (room.offset or 0):
            # The inbox told it: up to date, or made up.
            return [], since <= (await self._feed.bounds()).last
        if room.last == since != 0:
            return [], True
        if room.last < since or not room.last:
            return [], (await self._feed.bounds()).first <= since + 1
        return await self._kept(room.address, since)

    async def _kept(self, address: Address, since: int) -> tuple[list[Msg], bool]:
        """The same, read from the stream, which drops a topic's oldest events beyond a number, and everybody's
        oldest. All are there where `since` itself still is; or where nothing after it can have been dropped."""
        kept = await self._feed.kept(address, since, _KEPT_MOST + 1)
        if kept and sequence(kept[0]) == since:
            return kept[1:], True
        if len(kept) >= _KEPT_MOST:
            return kept, False
        return kept, (await self._feed.bounds()).first <= since + 1

    def _let_go(self, room: Room) -> None:
        room.holders -= 1
        if room.holders:
            return
        del self._rooms[room.address.topic]
        if room.subscription is not None:
            self._feed.close(room.subscription)

    # -- what arrives

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
        offset, before = headers.get("Nats-Sequence"), headers.get("Nats-Last-Sequence", "")
        if offset is None:
            self._take_ephemeral(room, message.data)
            return
        try:
            arrival = Arrival(int(offset), int(before), message.data)
        except ValueError:
            raise Unreadable("no sequence") from None
        if room.held is not None:
            self._hold(room, arrival)
        else:
            self._arrive(room, arrival)

    def _take_ephemeral(self, room: Room, body: bytes) -> None:
        event, removed = read_ephemeral(self._key, body)
        if event is not None and event.event == "inbox":
            self._changed(room.address.topic)
        elif event is not None:
            if event.event.startswith(_PRESENCE):
                self._seen(room.address.topic, event.event, event.payload)
            self._put(room, event)
        if removed is not None:
            room.notify(removed)

    def _arrive(self, room: Room, arrival: Arrival) -> None:
        known = room.offset
        if known is not None:
            if arrival.offset <= known:
                return  # a repetition
            if arrival.before > known or (room.last and not arrival.before):
                room.held = [arrival]
                self._spawn(self._fill(room))
                return
            if not arrival.before:
                self._spawn(self._prove_first(room, known))
        self._accept(room, arrival.offset, arrival.body)

    def _accept(self, room: Room, offset: int, body: bytes) -> None:
        room.offset = room.last = offset
        try:
            event = read(self._key, body, Position(offset, self._feed.epoch))
        except Unreadable as error:
            log.error("live_event_unreadable", why=str(error))
            return
        self._put(room, event)
        if event.event in INBOX_EVENTS and room.address.topic.startswith(_PERSON):
            self._changed(room.address.topic)

    def _read(self, messages: Any) -> list[Live]:
        found = []
        for message in messages:
            try:
                position = Position(sequence(message), self._feed.epoch)
                found.append(read(self._key, message.data, position))
            except Unreadable as error:
                log.error("live_event_unreadable", why=str(error))
        return found

    # -- gaps

    def _hold(self, room: Room, arrival: Arrival) -> None:
        assert room.held is not None
        room.held.append(arrival)
        if len(room.held) > _HELD_MOST:
            self._skip(room)

    async def _fill(self, room: Room) -> None:
        """Puts in what is missing, from the stream, and then what was held."""
        metrics.GAPS.inc()
        since = room.last or room.offset or 0
        for _ in range(_TRIES):
            try:
                kept, whole = await self._kept(room.address, since)
            except BusUnavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            if room.held is None or not self._feed.current:
                break
            if whole:
                for message in kept:
                    if sequence(message) > (room.offset or 0):
                        self._accept(room, sequence(message), message.data)
                self._release(room)
            else:
                self._skip(room)
            return
        # The bus is away: what was missed is found when it is back.
        room.held, self._compared = None, -1

    def _skip(self, room: Room) -> None:
        """Gives a gap up: everybody reads the inbox, and goes on from there."""
        held = room.held or []
        before = held[0].before if held else 0
        room.last, room.offset = before, max(before, room.offset or 0)
        self._resync(room, Position(room.offset, self._feed.epoch))
        self._release(room)

    async def _prove_first(self, room: Room, since: int) -> None:
        """After what seems to be the first event of a topic: one before it may have been lost on the way here, and
        then dropped by the stream. Where that cannot be excluded, everybody reads the inbox."""
        try:
            first = (await self._feed.bounds()).first
        except BusUnavailable:
            first = since + 2
        if first > since + 1 and room.offset is not None:
            self._resync(room, Position(room.offset, self._feed.epoch))

    def _release(self, room: Room) -> None:
        held, room.held = room.held or [], None
        for arrival in held:
            if room.held is None:
                self._arrive(room, arrival)
            else:
                room.held.append(arrival)

    def _settle(self, found: dict[Room, Standing], first: int) -> None:
        """Moves topics that are quiet to the present; looks after those whose events are missing."""
        behind = []
        for room, standing in found.items():
            if room.offset is None:
                room.offset, room.last = standing.offset, standing.last
            elif standing.last > room.offset and room.held is None:
                behind.append((room, standing.last))
            elif room.held is not None or room.offset >= standing.offset:
                continue
            elif first <= room.offset + 1 or standing.last == room.last != 0:
                room.offset = standing.offset
            else:
                # Something may have been lost on the way here, and then dropped by the stream.
                room.offset = standing.offset
                self._resync(room, Position(room.offset, self._feed.epoch))
        if behind:
            self._spawn(self._wait_for(behind))

    async def _wait_for(self, behind: list[tuple[Room, int]]) -> None:
        await asyncio.sleep(_IN_FLIGHT_S)
        for room, last in behind:
            if room.offset is not None and room.offset < last and room.held is None and room.holders:
                room.held = []
                self._spawn(self._fill(room))

    def _forget(self, room: Room) -> None:
        room.offset, room.last, room.held = None, 0, None
        self._resync(room, Position(self._feed.floor, self._feed.epoch))

    def _resync(self, room: Room, position: Position) -> None:
        resync = Resync(position)
        self._put(room, resync)
        room.notify(resync)

    # -- what goes out

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


def _ignore(_topic: str) -> None:
    """Nobody asked to hear of it."""


def _pass_over(_topic: str, _event: str, _payload: Any) -> None:
    """Nor of this."""
