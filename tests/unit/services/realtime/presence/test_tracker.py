"""One node in the moments that are hard to hit: what is under way when something else happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest

from services.realtime.presence.board import Change, Figures, Seat, Standing
from services.realtime.presence.board_memory import MemoryBoard, World
from services.realtime.presence.tracker import Tracker
from tests.unit.services.realtime.presence.town import FAST, Node, Wire, until

TOPIC = "group:1"


class SlowBoard(MemoryBoard):
    """Writes, and answers when it is let."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, node: str, changes: Sequence[Change]) -> list[Standing]:
        found = await super().write(node, changes)
        await self.gate.wait()
        return found

    async def seat(self, node: str, seats: Sequence[Seat]) -> list[int]:
        found = await super().seat(node, seats)
        await self.gate.wait()
        return found


@pytest.fixture
def world() -> World:
    """What the nodes share."""
    return World(FAST)


@pytest.fixture
async def node(world: World) -> AsyncIterator[Callable[..., Node]]:
    """Makes nodes of one world, which are on its board."""
    wire, made = Wire(), []

    def make(board: MemoryBoard | None = None, figures: Figures = FAST) -> Node:
        world.figures = figures
        made.append(Node(board or MemoryBoard(world), wire, figures))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def entered(world: World, count: int) -> None:
    """Waits until so many nodes are on the board."""
    await until(lambda: len(world.nodes) == count)


def on_board(world: World) -> list[str]:
    """Whose channels are on the board."""
    return sorted(key for held in world.topics.values() for key, _ in held.values())


async def test_what_could_not_be_written_is_written_later(world: World, node: Callable[..., Node]) -> None:
    one, other = node(), node()
    await entered(world, 2)
    handle, _ = await one.join(TOPIC, "ann")
    _, bob = await other.join(TOPIC, "bob")
    await until(lambda: on_board(world) == ["ann", "bob"])
    world.away = True
    one.leave(TOPIC, handle)
    await one.join(TOPIC, "cat")
    await until(lambda: bob.state.keys() == {"bob", "cat"})  # told at once
    assert on_board(world) == ["ann", "bob"]
    world.away = False
    await until(lambda: on_board(world) == ["bob", "cat"])


async def test_who_read_a_state_before_it_was_written_hears_it_again(
    world: World, node: Callable[..., Node]
) -> None:
    one, other = node(), node()
    await entered(world, 2)
    world.away = True
    await one.join(TOPIC, "ann")
    await asyncio.sleep(0.05)  # nobody is there to hear it
    _, bob = await other.join(TOPIC, "bob")
    assert bob.state.keys() == {"bob"}
    world.away = False
    await until(lambda: bob.state.keys() == {"ann", "bob"})


async def test_a_joining_side_that_is_late_changes_nothing(world: World, node: Callable[..., Node]) -> None:
    board = SlowBoard(world)
    one, other = node(board), node()
    await entered(world, 2)
    _, bob = await other.join(TOPIC, "bob")
    await until(lambda: "bob" in on_board(world))
    board.gate.clear()
    handle, _ = await one.join(TOPIC, "ann")
    await until(lambda: "ann" in on_board(world))  # written, though the node does not know it yet
    world.forget()
    await asyncio.sleep(0.25)  # it learns by its beat that it is lost
    one.leave(TOPIC, handle)
    board.gate.set()
    await until(lambda: any("ann" in diff["leaves"] for diff in bob.diffs()))
    assert all("ann" not in diff["joins"] for diff in bob.diffs())


async def test_who_leaves_when_the_node_was_just_lost_leaves(world: World, node: Callable[..., Node]) -> None:
    one, other = node(), node()
    await entered(world, 2)
    handle, _ = await one.join(TOPIC, "ann")
    _, bob = await other.join(TOPIC, "bob")
    await until(lambda: "ann" in bob.state)
    world.forget()
    one.leave(TOPIC, handle)
    await until(lambda: "ann" not in bob.state, within_s=1)  # long before states are sent again


async def test_a_socket_that_closed_before_it_was_written_as_open_is_closed(
    world: World, node: Callable[..., Node]
) -> None:
    board = SlowBoard(world)
    one = node(board)
    await entered(world, 1)
    board.gate.clear()
    first = asyncio.create_task(one.tracker.register("ann", "1"))
    await until(lambda: world.users.get("ann"))
    second = asyncio.create_task(one.tracker.register("bob", "1"))
    await asyncio.sleep(0)
    one.tracker.unregister("bob", "1")
    await asyncio.sleep(0.05)  # that it closed waits behind the first, and before the second
    board.gate.set()
    await asyncio.gather(first, second)
    await asyncio.sleep(0.1)
    assert {user for user, sockets in world.users.items() if sockets} == {"ann"}


async def test_a_node_that_comes_back_is_not_there_twice(world: World, node: Callable[..., Node]) -> None:
    """Neither would anybody be told that its people left, nor is their number doubled for a while."""
    figures = replace(FAST, ttl_s=0.3, look_s=60)
    one, other = node(figures=figures), node(figures=figures)
    await entered(world, 2)
    _, bob = await other.join(TOPIC, "bob")
    for number in range(5):
        one.tracker.track(TOPIC, f"p{number}")
    await until(lambda: len(bob.refs()) == 6)
    before = bob.refs()
    await one.hang()
    await asyncio.sleep(0.5)
    one.wake()
    await until(lambda: len(bob.refs() - before) == 5 and len(bob.refs()) == 6)
    assert "presence_count" not in {event for event, _ in bob.events}
    for diff in bob.diffs():
        assert not diff["leaves"] or diff["joins"].keys() == diff["leaves"].keys()


async def test_who_dies_when_the_board_was_just_emptied_leaves_too(
    world: World, node: Callable[..., Node]
) -> None:
    """The board knows nothing of it, so that nobody clears it away."""
    figures = replace(FAST, ttl_s=0.4)
    one, other = node(figures=figures), node(figures=figures)
    await entered(world, 2)
    _, ann = await one.join(TOPIC, "ann")
    await other.join(TOPIC, "bob")
    await until(lambda: ann.state.keys() == {"ann", "bob"})
    world.forget()
    await other.kill()
    await until(lambda: ann.state.keys() == {"ann"}, within_s=3)
    assert one.refreshed == [TOPIC]


async def test_closing_leaves_no_trace(world: World, node: Callable[..., Node]) -> None:
    one = node()
    await entered(world, 1)
    await one.join(TOPIC, "ann")
    await one.tracker.register("ann", "1")
    await one.close()
    assert not world.nodes
    assert not world.dead
    assert not on_board(world)
    assert not any(world.users.values())


async def test_closing_without_a_board_ends_as_well(world: World, node: Callable[..., Node]) -> None:
    one, other = node(), node()
    await entered(world, 2)
    await one.join(TOPIC, "ann")
    _, bob = await other.join(TOPIC, "bob")
    await until(lambda: "ann" in bob.state)
    world.away = True
    await one.close()
    await until(lambda: "ann" not in bob.state)
    world.away = False
    await until(lambda: on_board(world) == ["bob"])  # cleared by the other


async def test_telling_that_fails_is_done_later(world: World) -> None:
    told: list[str] = []
    fails = True

    async def publish(topic: str, event: str, payload: object) -> None:
        if fails:
            raise RuntimeError("not now")
        told.append(topic)

    tracker = Tracker(MemoryBoard(world), publish, figures=FAST)
    task = asyncio.create_task(tracker.run())
    for number in range(3):
        tracker.track(f"group:{number}", "ann")
    await until(lambda: on_board(world) == ["ann", "ann", "ann"])
    fails = False
    await until(lambda: set(told) == {"group:0", "group:1", "group:2"})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await tracker.close()
