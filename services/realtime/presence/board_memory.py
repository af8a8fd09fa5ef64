"""The board in memory, for one process: nodes that share a World see each other. For tests, which can let the
world forget, or be away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crown.breaker import Away
from services.realtime.presence.board import Change, Figures, Lost, Seat, Standing, View


@dataclass
class World:
    """What the nodes share. While `away` is set nothing is answered."""

    figures: Figures = field(default_factory=Figures)
    clock: Callable[[], float] = time.monotonic
    away: bool = False
    nodes: dict[str, float] = field(default_factory=dict)
    dead: dict[str, float] = field(default_factory=dict)
    crowded: set[str] = field(default_factory=set)
    counted: dict[str, float] = field(default_factory=dict)
    # Of each topic: key and record by node and ref.
    topics: dict[str, dict[tuple[str, str], tuple[str, bytes]]] = field(default_factory=dict)
    # Of each person: node and socket.
    users: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    active: dict[str, float] = field(default_factory=dict)

    def forget(self) -> None:
        """Everything."""
        for kept in (self.nodes, self.dead, self.counted, self.topics, self.users, self.active):
            kept.clear()
        self.crowded.clear()

    def lives(self, node: str) -> bool:
        """Whether its time has not run out."""
        return self.nodes.get(node, 0.0) > self.clock()

    def bury(self, node: str) -> None:
        """It is dead, and to be cleared away where it holds something."""
        self.nodes.pop(node, None)
        holds = any(node == owner for held in self.topics.values() for owner, _ in held)
        if holds or any(node == owner for held in self.users.values() for owner, _ in held):
            self.dead.setdefault(node, 0.0)

    def people(self, topic: str) -> int:
        """How many are on a topic."""
        return len({key for key, _ in self.topics.get(topic, {}).values()})


class MemoryBoard:
    """See Board."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()

    async def begin(self, node: str, before: str) -> None:
        """See Board."""
        world = self._reach()
        if before:
            world.bury(before)
        world.nodes[node] = world.clock() + world.figures.ttl_s

    async def beat(self, node: str) -> None:
        """See Board."""
        world = self._reach()
        if not world.lives(node):
            world.bury(node)
            raise Lost
        world.nodes[node] = world.clock() + world.figures.ttl_s

    async def end(self, node: str) -> None:
        """See Board."""
        self._reach().bury(node)

    async def write(self, node: str, changes: Sequence[Change]) -> list[Standing]:
        """See Board."""
        if not self._reach().lives(node):
            raise Lost
        return self._change(node, changes)

    async def seat(self, node: str, seats: Sequence[Seat]) -> list[int]:
        """See Board."""
        world = self._reach()
        if not world.lives(node):
            raise Lost
        counts = []
        for seat in seats:
            held = world.users.setdefault(seat.user_id, set())
            (held.add if seat.opened else held.discard)((node, seat.socket_id))
            world.active[seat.user_id] = world.clock()
            counts.append(sum(world.lives(owner) for owner, _ in held))
        return counts

    async def touch(self, user_ids: Sequence[str]) -> None:
        """See Board."""
        world = self._reach()
        world.active.update(dict.fromkeys(user_ids, world.clock()))

    async def views(self, node: str, topics: Sequence[str]) -> list[View]:
        """See Board."""
        world = self._reach()
        return [self._view(world, node, topic) for topic in topics]

    def _view(self, world: World, node: str, topic: str) -> View:
        if topic in world.crowded:
            return View([], True, world.people(topic))
        held = world.topics.get(topic, {})
        return View(
            [row for (owner, _), (_, row) in held.items() if owner != node and world.lives(owner)], False, 0
        )

    async def counts(self, topics: Sequence[str]) -> list[int | None]:
        """See Board."""
        world = self._reach()
        found: list[int | None] = []
        for topic in topics:
            if topic not in world.crowded:
                found.append(-1)
            elif world.counted.get(topic, 0.0) > world.clock():
                found.append(None)
            else:
                world.counted[topic] = world.clock() + world.figures.count_s
                found.append(world.people(topic))
        return found

    async def claim(self) -> str:
        """See Board."""
        world = self._reach()
        for node in [node for node in world.nodes if not world.lives(node)]:
            world.bury(node)
        free = next((node for node, until in world.dead.items() if until <= world.clock()), "")
        if free:
            world.dead[free] = world.clock() + world.figures.hold_s
        return free

    async def remains(self, dead: str, most: int) -> list[tuple[Change, bool]]:
        """See Board."""
        world = self._reach()
        found = [
            (Change(topic, ref, key, record), topic in world.crowded)
            for topic, held in world.topics.items()
            for (owner, ref), (key, record) in held.items()
            if owner == dead
        ]
        return found[:most]

    async def bury(self, dead: str, changes: Sequence[Change]) -> list[Standing]:
        """See Board."""
        self._reach()
        return self._change(dead, changes)

    async def unseat(self, dead: str, most: int) -> bool:
        """See Board."""
        world = self._reach()
        mine = [(held, seat) for held in world.users.values() for seat in held if seat[0] == dead][:most]
        for held, seat in mine:
            held.discard(seat)
        if not mine:
            world.dead.pop(dead, None)
        return bool(mine)

    def _reach(self) -> World:
        if self.world.away:
            raise Away("the world is away")
        return self.world

    def _change(self, node: str, changes: Sequence[Change]) -> list[Standing]:
        world = self.world
        for change in changes:
            held = world.topics.setdefault(change.topic, {})
            if change.record:
                held.setdefault((node, change.ref), (change.key, change.record))
            else:
                held.pop((node, change.ref), None)
        return [self._standing(topic) for topic in dict.fromkeys(change.topic for change in changes)]

    def _standing(self, topic: str) -> Standing:
        world, count = self.world, len(self.world.topics[topic])
        before = topic in world.crowded
        after = count > world.figures.crowd or (before and count >= world.figures.crowd_ends)
        (world.crowded.add if after else world.crowded.discard)(topic)
        if not count:
            del world.topics[topic]
        return Standing(topic, after, after != before)
