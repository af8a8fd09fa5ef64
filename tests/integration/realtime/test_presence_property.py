"""Whatever happens to three nodes, in the end every client shows who is there: those who joined and did not leave, on
nodes that live, and nobody else. Over the board in memory and in a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crown.presence import connect
from services.realtime.presence.board import Board
from services.realtime.presence.board_memory import MemoryBoard, World
from services.realtime.presence.board_redis import RedisBoard
from tests.integration.realtime.valkey import Valkey
from tests.unit.services.realtime.presence.town import FAST, Client, Node, Wire

# On a busy machine a beat may be late: the node is then thought dead, and has to come back as well.
FIGURES = replace(
    FAST,
    beat_s=0.01,
    ttl_s=0.1,
    look_s=0.02,
    hold_s=0.1,
    gather_s=0.002,
    spacing_s=0.005,
    retry_s=0.01,
    count_s=0.04,
)
TOPICS = ("group:1", "chat:2")
KEYS = ("ann", "bob", "cat")

_node, _topic, _key = st.integers(0, 2), st.sampled_from(TOPICS), st.sampled_from(KEYS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), _node, _topic, _key, st.integers(1, 6)),
        st.tuples(st.just("leave"), _node, _topic, st.integers(0, 9)),
        st.tuples(st.just("update"), _node, _topic, st.integers(0, 9)),
        st.tuples(st.just("kill"), _node),
        st.tuples(st.just("hang"), _node),
        st.tuples(st.just("wake"), _node),
        st.tuples(st.just("forget")),
        st.tuples(st.just("bus"), st.booleans()),
        st.tuples(st.just("stop_board"), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from((0.0, 0.002, 0.02, 0.15))),
    ),
    min_size=3,
    max_size=25,
)


@dataclass
class Seat:
    """Somebody who joined."""

    key: str
    client: Client


@dataclass
class Play:
    """Three nodes, and what is to be true of them."""

    board: Callable[[], Board]
    forget: Callable[[], Awaitable[Any]]
    reach: Callable[[bool], object]
    wire: Wire = field(default_factory=lambda: Wire(delay_s=0.004))
    nodes: list[Node] = field(default_factory=list)
    hanging: set[int] = field(default_factory=set)
    # Who is there, by node, topic and handle.
    people: list[dict[str, dict[str, Seat]]] = field(default_factory=list)

    def begin(self) -> None:
        """All three run."""
        self.nodes = [Node(self.board(), self.wire, FIGURES) for _ in range(3)]
        self.people = [{topic: {} for topic in TOPICS} for _ in range(3)]

    async def join(self, at: int, topic: str, key: str, times: int) -> None:
        """Somebody joins, once or more."""
        for _ in range(times):
            if at not in self.hanging:
                handle, client = await self.nodes[at].join(topic, key)
                self.people[at][topic][handle] = Seat(key, client)

    async def leave(self, at: int, topic: str, which: int) -> None:
        """One of them leaves."""
        handles = list(self.people[at][topic])
        if handles and at not in self.hanging:
            handle = handles[which % len(handles)]
            del self.people[at][topic][handle]
            self.nodes[at].leave(topic, handle)

    async def update(self, at: int, topic: str, which: int) -> None:
        """One of them changes."""
        handles = list(self.people[at][topic])
        if handles and at not in self.hanging:
            self.nodes[at].tracker.update(topic, handles[which % len(handles)], {"n": which})

    async def kill(self, at: int) -> None:
        """A node dies; another takes its place."""
        await self.nodes[at].kill()
        self.hanging.discard(at)
        self.nodes[at] = Node(self.board(), self.wire, FIGURES)
        self.people[at] = {topic: {} for topic in TOPICS}

    async def hang(self, at: int) -> None:
        """A node stands still."""
        if at not in self.hanging:
            self.hanging.add(at)
            await self.nodes[at].hang()

    async def wake(self, at: int) -> None:
        """It goes on."""
        if at in self.hanging:
            self.hanging.discard(at)
            self.nodes[at].wake()

    async def bus(self, away: bool) -> None:
        """The bus goes away, or comes back."""
        self.wire.away = away

    async def stop_board(self, away: bool) -> None:
        """The board answers nothing, or does again."""
        self.reach(not away)

    async def wait(self, seconds: float) -> None:
        """Time passes."""
        await asyncio.sleep(seconds)

    async def settle(self) -> None:
        """All is well again, and stays so until every client is right."""
        await self.bus(False)
        await self.stop_board(False)
        for at in list(self.hanging):
            await self.wake(at)
        wrong: object = None
        for _ in range(300):
            wrong = self.wrong()
            if wrong is None:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(wrong)

    def wrong(self) -> object:
        """What some client shows that is not so; None where all are right."""
        for topic in TOPICS:
            seats = [seat for node in self.people for seat in node[topic].values()]
            wanted: dict[str, int] = {}
            for seat in seats:
                wanted[seat.key] = wanted.get(seat.key, 0) + 1
            for seat in seats:
                shown = {key: len(metas) for key, metas in seat.client.state.items()}
                crowd = seat.client.count is not None
                if crowd and (shown or seat.client.count != len(wanted) or len(seats) < FIGURES.crowd_ends):
                    return topic, "crowd", seat.client.count, shown, wanted
                if not crowd and (shown != wanted or len(seats) > FIGURES.crowd):
                    return topic, shown, wanted
        return None

    async def end(self) -> None:
        """Everybody goes."""
        for node in self.nodes:
            await node.close()


async def play(made: Play, steps: list[tuple[Any, ...]]) -> None:
    """Takes the steps, and looks."""
    made.begin()
    try:
        for name, *arguments in steps:
            await getattr(made, name)(*arguments)
        await made.settle()
    finally:
        await made.end()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_in_memory(steps: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        world = World(FIGURES)

        async def forget() -> None:
            world.forget()

        def reach(there: bool) -> None:
            world.away = not there

        await play(Play(lambda: MemoryBoard(world), forget, reach), steps)

    asyncio.run(run())


@pytest.fixture(scope="module")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Valkey]:
    """The server of these tests."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    await server.start()
    yield server
    await server.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_in_redis(valkey: Valkey, steps: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        opened = []

        def board() -> Board:
            opened.append(connect(valkey.url))
            return RedisBoard(opened[-1], FIGURES)

        operator = connect(valkey.operator_url)
        opened.append(operator)
        await operator.flushall()
        try:
            await play(Play(board, operator.flushall, lambda _: None), steps)
        finally:
            for redis in opened:
                await redis.aclose()

    asyncio.run(run())
