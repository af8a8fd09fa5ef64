"""Whatever gets lost on the way, whenever somebody goes and comes back: a client that names its last position has
everything once and in order, or was told to read the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crown.live_position import Position
from services.realtime import address
from services.realtime.feed import Feed
from services.realtime.hub import Hub
from services.realtime.live import Event, Live, Resync
from tests.unit.services.realtime.conftest import KEY, FakeFeed, notification

ANN = address.user("ann")
TOPIC = ANN.topic
BODY = notification()


class Events:
    """Events as they are."""

    def encode(self, topic: str, event: Event) -> list[Event]:
        """See Encoding."""
        return [event]

    def together(self, parts: list[list[Event]]) -> list[Event]:
        """See Encoding."""
        return [event for part in parts for event in part]


EVENTS = Events()


class Client:
    """Does what the page of an app does: goes on from the last position it saw."""

    def __init__(self, name: str, hub: Hub, published: list[int]) -> None:
        self.id = name
        self.encoding = EVENTS
        self._hub = hub
        self._published = published
        self.joined = False
        self.position: Position | None = None
        # Every event that it has, by socket or from the inbox.
        self.known: set[int] = set()
        self.inbox_reads = 0
        self.wrong: list[str] = []

    def deliver(self, events: list[Event]) -> None:
        """Takes what the socket brings."""
        for event in events:
            if isinstance(event, Resync):
                self._read_inbox(event.position)
            elif isinstance(event, Live):
                self._take(event.position)

    async def join(self) -> None:
        """Comes, or comes back."""
        found = await self._hub.join(ANN, self, self.position)
        self.joined = True
        if found.recovered:
            self.position = found.position
        else:
            self._read_inbox(found.position)
        for event in found.missed:
            self._take(event.position)

    def leave(self) -> None:
        """Goes, as a broken connection does: what was on its way to it is lost."""
        self._hub.leave(TOPIC, self)
        self.joined = False

    def _read_inbox(self, position: Position) -> None:
        self.inbox_reads += 1
        self.known.update(self._published)
        self.position = position

    def _take(self, position: Position) -> None:
        if not self.joined:
            return
        behind = self.position is not None and position.epoch == self.position.epoch
        # The inbox may have had it a moment before the socket brings it; two frames of one event may not be.
        if behind and self.position is not None and position.offset <= self.position.offset:
            self.wrong.append(f"{position.offset} after {self.position.offset}")
        self.known.add(position.offset)
        self.position = position


class World:
    """A stream, a hub and clients, and what happens to them."""

    def __init__(self) -> None:
        self.feed = FakeFeed()
        self.feed.each_most = 100
        self._tasks: set[asyncio.Task[None]] = set()
        self.hub = Hub(cast(Feed, self.feed), KEY, self._spawn)
        self.published: list[int] = []
        self.clients = [Client(f"c{number}", self.hub, self.published) for number in range(3)]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def rest(self) -> None:
        """Until nothing moves any more."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)

    async def happen(self, what: tuple[str, int]) -> None:
        """One thing."""
        kind, number = what
        client = self.clients[number % 3]
        match kind:
            case "publish":
                self.published.append(self.feed.publish(TOPIC, BODY))
            case "lose":
                self.published.append(self.feed.store(TOPIC, BODY)[0])
            case "flood":
                for _ in range(number * 30):
                    self.published.append(self.feed.publish(TOPIC, BODY))
            case "others":
                for _ in range(number):
                    self.feed.store("user:bob", BODY)
            case "age":
                self.feed.drop_before(self.feed.first + number)
            case "come" if not client.joined:
                await client.join()
            case "go" if client.joined:
                client.leave()
            case "turn":
                await asyncio.sleep(0)
            case "break":
                self.feed.current = False
            case "mend":
                self.feed.current = True
                self.hub.reconnected(same_epoch=True)
            case "compare":
                await self.hub.compare()


STEP = st.tuples(
    st.sampled_from(
        ["publish"] * 4
        + ["come"] * 3
        + ["lose", "flood", "others", "age", "go", "turn", "turn", "break", "compare"]
    ),
    st.integers(0, 5),
)


async def live_through(script: list[tuple[str, int]]) -> World:
    """Everything in turn, and in the end all clients are there and at rest."""
    world = World()
    for what in script:
        if what[0] == "come" and not world.feed.current:
            await world.happen(("mend", 0))
        if what[0] == "compare" and not world.feed.current:
            continue
        await world.happen(what)
    await world.happen(("mend", 0))
    for client in world.clients:
        if not client.joined:
            await client.join()
    # An event that was lost and followed by no other is found by the next comparison.
    world.published.append(world.feed.publish(TOPIC, BODY))
    await world.rest()
    await world.hub.compare()
    await world.rest()
    return world


@pytest.fixture(autouse=True)
def _nothing_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.realtime.hub._IN_FLIGHT_S", 0.0)


@settings(max_examples=300, deadline=None)
@given(script=st.lists(STEP, max_size=40))
def test_nothing_is_lost_repeated_or_out_of_order(script: list[tuple[str, int]]) -> None:
    world = asyncio.run(live_through(script))
    for client in world.clients:
        assert client.wrong == []
        assert client.known >= set(world.published), sorted(set(world.published) - client.known)[:5]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            lambda hub: setattr(hub, "_kept", _everything(hub)), id="what was dropped is not noticed"
        ),
        pytest.param(lambda hub: setattr(hub, "_arrive", _without_gaps(hub)), id="gaps are not looked for"),
    ],
)
def test_the_property_can_fail(spoil: Callable[[Hub], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a guard taken out, some script loses something."""
    original = World.__init__

    def spoiled(self: World) -> None:
        original(self)
        spoil(self.hub)

    monkeypatch.setattr(World, "__init__", spoiled)
    scripts: list[list[tuple[str, int]]] = [
        [("come", 0), ("publish", 0), ("turn", 0), ("go", 0), ("flood", 5), ("come", 0)],
        [("come", 0), ("publish", 0), ("lose", 0), ("publish", 0), ("turn", 0)],
    ]
    worlds = [asyncio.run(live_through(script)) for script in scripts]
    assert any(set(world.published) - client.known for world in worlds for client in world.clients)


def _everything(hub: Hub) -> Any:
    async def kept(where: Any, since: int) -> Any:
        found = await cast(Any, hub)._feed.kept(where, since + 1, 1_000)
        return found, True

    return kept


def _without_gaps(hub: Hub) -> Any:
    def arrive(room: Any, arrival: Any) -> None:
        if room.offset is None or arrival.offset > room.offset:
            cast(Any, hub)._accept(room, arrival.offset, arrival.body)

    return arrive
