"""A person's connections: found, counted, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from crown.auth import Principal
from crown.revocations import Disconnect
from services.realtime import closecodes
from services.realtime.closecodes import Close
from services.realtime.people import People


class FakeConnection:
    """Remembers how it was closed."""

    def __init__(self, name: str, subject: str = "ann", use: str = "user") -> None:
        self.id = name
        self.principal = Principal(use, subject, frozenset(), 2e9)
        self.closes: list[Close] = []

    def close(self, why: Close) -> None:
        """See Present."""
        self.closes.append(why)


class FakeRegistry:
    """All nodes' connections; can be away, and can take its time."""

    def __init__(self) -> None:
        self.known: set[tuple[str, str]] = set()
        self.away = False
        self.gate: asyncio.Event | None = None

    async def register(self, user_id: str, socket_id: str) -> int:
        """See Registry."""
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise ConnectionError("away")
        self.known.add((user_id, socket_id))
        return sum(user == user_id for user, _ in self.known)

    def unregister(self, user_id: str, socket_id: str) -> None:
        """See Registry."""
        if self.away:
            raise ConnectionError("away")
        self.known.discard((user_id, socket_id))


_tasks: set[asyncio.Task[None]] = set()


def spawn(work: Coroutine[Any, Any, None]) -> object:
    """Runs it."""
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def rest() -> None:
    """Lets everything come to rest."""
    for _ in range(10):
        await asyncio.sleep(0)


def arriving(people: People, number: int) -> list[FakeConnection]:
    """So many of ann."""
    found = [FakeConnection(f"s{at}") for at in range(number)]
    for connection in found:
        people.arrive(connection)
    return found


async def test_without_a_registry_the_newest_here_loses_at_once() -> None:
    people = People(spawn, 2)
    one, two, three = arriving(people, 3)
    assert [one.closes, two.closes, three.closes] == [[], [], [closecodes.TOO_MANY]]
    people.leave(three)
    people.leave(two)
    four = FakeConnection("s4")
    people.arrive(four)
    assert four.closes == []


async def test_others_do_not_count_nor_services_nor_where_there_is_no_limit() -> None:
    people = People(spawn, 1)
    for connection in (
        FakeConnection("a"),
        FakeConnection("b", "bob"),
        FakeConnection("c", "ann", "service"),
    ):
        people.arrive(connection)
        assert connection.closes == []
    assert len(people) == 2
    assert not any(connection.closes for connection in arriving(People(spawn, 0), 100))


async def test_all_nodes_count_where_there_is_a_registry() -> None:
    registry = FakeRegistry()
    registry.known = {("ann", "elsewhere.1"), ("ann", "elsewhere.2"), ("bob", "elsewhere.3")}
    people = People(spawn, 3, registry)
    one, two = arriving(people, 2)
    await rest()
    assert (one.closes, two.closes) == ([], [closecodes.TOO_MANY])
    people.leave(two)
    await rest()
    assert ("ann", "s1") not in registry.known


async def test_a_registry_that_is_away_leaves_counting_to_the_process() -> None:
    registry = FakeRegistry()
    registry.away = True
    people = People(spawn, 1, registry)
    one, two = arriving(people, 2)
    await rest()
    assert (one.closes, two.closes) == ([], [closecodes.TOO_MANY])


async def test_a_registry_that_hangs_delays_nobody() -> None:
    registry = FakeRegistry()
    registry.gate = asyncio.Event()
    people = People(spawn, 1, registry)
    one, two = arriving(people, 2)
    await rest()
    assert (one.closes, two.closes) == ([], [])
    registry.gate.set()
    await rest()
    assert (one.closes, two.closes) == ([], [closecodes.TOO_MANY])


async def test_who_goes_while_it_is_being_counted_leaves_nothing_behind() -> None:
    registry = FakeRegistry()
    registry.gate = asyncio.Event()
    people = People(spawn, 1, registry)
    (one,) = arriving(people, 1)
    await rest()
    people.leave(one)
    await rest()
    registry.gate.set()
    await rest()
    assert registry.known == set()
    assert len(people) == 0


async def test_a_persons_connections_are_found_by_name() -> None:
    people = People(spawn)
    found = arriving(people, 3)
    people.arrive(FakeConnection("b", "bob"))
    assert set(people.of("ann")) == set(found)
    assert people.of("nobody") == []


async def test_who_is_cut_off_is_told_whether_to_come_back() -> None:
    people = People(spawn)
    (ann,) = arriving(people, 1)
    bob = FakeConnection("b", "bob")
    people.arrive(bob)
    people.end(Disconnect("ann", "", 1000.5))
    people.end(Disconnect("ann", "", None))
    people.end(Disconnect("ann", "other", 1000.5))
    people.end(Disconnect("nobody", "", None))
    assert ann.closes == [closecodes.REVOKED, closecodes.AGAIN]
    assert bob.closes == []
