"""What nodes do together, over the board in memory and the one in a real Valkey."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crown.errors import NotReady
from crown.presence import Presence, Seen, connect
from services.realtime.presence.board import Board, Change, Figures, Lost, Seat
from services.realtime.presence.board_memory import MemoryBoard, World
from services.realtime.presence.board_redis import RedisBoard
from tests.integration.realtime.valkey import Valkey
from tests.integration.rig import until as eventually
from tests.unit.services.realtime.presence.town import FAST, Client, Node, Wire, until

TOPIC = "group:a:b"
SHORT = replace(FAST, ttl_s=0.4)
LASTING = replace(FAST, ttl_s=60)


@dataclass
class Town:
    """Makes nodes that share a board and a wire."""

    board: Callable[[Figures], Board]
    forget: Callable[[], Any]
    empty: Callable[[], Any]
    wire: Wire = field(default_factory=Wire)
    nodes: list[Node] = field(default_factory=list)

    def node(self, figures: Figures = FAST) -> Node:
        """One more."""
        made = Node(self.board(figures), self.wire, figures)
        self.nodes.append(made)
        return made


@pytest.fixture(scope="module")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Valkey]:
    """The server of these tests."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    await server.start()
    yield server
    await server.close()


@pytest.fixture(params=["memory", "redis"])
async def town(request: pytest.FixtureRequest, valkey: Valkey) -> AsyncIterator[Town]:
    """Nobody is there yet."""
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            world = World(FAST)

            def in_memory(figures: Figures) -> Board:
                world.figures = figures
                return MemoryBoard(world)

            async def forget() -> None:
                world.forget()

            async def empty() -> bool:
                return not (any(world.topics.values()) or any(world.users.values()) or world.dead)

            made = Town(in_memory, forget, empty)
        else:
            await valkey.operator.flushall()

            def in_redis(figures: Figures) -> Board:
                redis = connect(valkey.url)
                stack.push_async_callback(redis.aclose)
                return RedisBoard(redis, figures)

            async def cleared() -> bool:
                living = await valkey.operator.zcard("crown:presence:nodes")
                kept = [key async for key in valkey.operator.scan_iter()]
                left = [
                    key
                    for key in kept
                    if key.split(b":")[2]
                    not in (b"active", b"nodes", b"counted", b"order" if living else b"")
                ]
                return not left

            made = Town(in_redis, valkey.operator.flushall, cleared)
        yield made
        for node in made.nodes:
            await node.close()


async def empties(town: Town) -> None:
    """Waits until nothing is left on the board."""
    async with asyncio.timeout(10):
        while True:
            if await town.empty():
                return
            await asyncio.sleep(0.02)


def keys(client: Client) -> dict[str, int]:
    """Whom a client shows, and on how many devices."""
    return {key: len(metas) for key, metas in client.state.items()}


def shows(client: Client, people: dict[str, int]) -> bool:
    """Whether it shows just these, on so many devices."""
    return keys(client) == people


def shows_only(client: Client, people: set[str]) -> bool:
    """Whether it shows just these."""
    return keys(client).keys() == people


def same(one: Client, other: Client) -> bool:
    """Whether both know the same channels."""
    return one.refs() == other.refs()


async def test_who_joins_is_told_of_all_and_all_of_them(town: Town) -> None:
    one, other = town.node(), town.node()
    _, ann = await one.join(TOPIC, "ann", device="cli")
    await until(lambda: ann.diffs())
    (meta,) = ann.state["ann"]
    assert set(meta) >= {"device", "online_at", "phx_ref"}
    assert ann.diffs()[0] == {"joins": {"ann": {"metas": [meta]}}, "leaves": {}}
    handle, bob = await other.join(TOPIC, "bob")
    assert keys(bob) == {"ann": 1, "bob": 1}
    await until(lambda: keys(ann) == {"ann": 1, "bob": 1})
    other.leave(TOPIC, handle)
    await until(lambda: keys(ann) == {"ann": 1})
    assert ann.diffs()[-1]["leaves"]["bob"]["metas"] == bob.state["bob"]


async def test_topics_and_keys_do_not_meet_however_they_are_written(town: Town) -> None:
    node = town.node()
    names = ("a", "a:", "a:b", ":a", "a::b", "a b", "ä{}", "__proto__")
    seen = {name: (await node.join(f"group:{name}", f"{name}:{name}"))[1] for name in names}
    for name, client in seen.items():
        await until(client.diffs)
        assert keys(client) == {f"{name}:{name}": 1}


async def test_devices_stand_in_the_order_in_which_they_came(town: Town) -> None:
    one, other = town.node(), town.node()
    first, _ = await one.join(TOPIC, "ann", device="1")
    await other.join(TOPIC, "ann", device="2")
    await one.join(TOPIC, "ann", device="3")
    await asyncio.sleep(0.1)
    _, late = await other.join(TOPIC, "zoe")
    assert [meta["device"] for meta in late.state["ann"]] == ["1", "2", "3"]
    one.leave(TOPIC, first)
    await until(lambda: [meta["device"] for meta in late.state["ann"]] == ["2", "3"])


async def test_a_change_is_one_diff_with_both_sides(town: Town) -> None:
    one, other = town.node(), town.node()
    handle, _ = await one.join(TOPIC, "ann", device="cli")
    _, bob = await other.join(TOPIC, "bob")
    await until(lambda: bob.diffs() and "ann" in bob.state)
    await asyncio.sleep(0.05)
    (before,) = bob.state["ann"]
    one.tracker.update(TOPIC, handle, {"device": "away"})
    await until(lambda: bob.state["ann"][0]["device"] == "away")
    (now,) = bob.state["ann"]
    assert bob.diffs()[-1] == {"joins": {"ann": {"metas": [now]}}, "leaves": {"ann": {"metas": [before]}}}
    assert now["phx_ref_prev"] == before["phx_ref"] != now["phx_ref"]
    assert now["online_at"] == before["online_at"]
    one.leave(TOPIC, handle)
    await until(lambda: "ann" not in bob.state)


async def test_many_who_come_at_once_are_one_diff(town: Town) -> None:
    figures = replace(FAST, crowd=500, crowd_ends=400, gather_s=0.1)
    one, other = town.node(figures), town.node(figures)
    _, watcher = await other.join(TOPIC, "zoe")
    await until(lambda: watcher.diffs())
    for number in range(200):
        one.tracker.track(TOPIC, f"p{number}")
    await until(lambda: len(watcher.state) == 201)
    assert len(watcher.diffs()) <= 3


async def test_who_is_gone_at_once_leaves_nobody_behind(town: Town) -> None:
    node = town.node(replace(FAST, gather_s=0.2))
    _, watcher = await node.join(TOPIC, "zoe")
    handle, _ = await node.join(TOPIC, "ann")
    _, saw = await node.join(TOPIC, "bob")  # its state shows ann, of whom nobody was told
    assert "ann" in saw.state
    node.leave(TOPIC, handle)
    await until(lambda: "ann" not in saw.state and "bob" in watcher.state)
    assert all("ann" not in diff["joins"] for diff in watcher.diffs())


async def test_sockets_of_a_person_count_on_all_nodes(town: Town) -> None:
    # So long that a node of this busy loop does not count as gone in between.
    lasting = replace(FAST, ttl_s=1.2)
    one, other = town.node(lasting), town.node(lasting)
    # Sockets count of nodes that have said that they live.
    await asyncio.sleep(0.5)
    assert await one.tracker.register("a:n", "1") == 1
    assert await other.tracker.register("a:n", "1") == 2
    assert await other.tracker.register("a", "n:1") == 1
    assert await one.tracker.register("a:n", "2") == 3
    one.tracker.unregister("a:n", "1")
    one.tracker.unregister("a:n", "unknown")
    await asyncio.sleep(0.1)
    assert await other.tracker.register("a:n", "3") == 3
    await one.kill()
    await asyncio.sleep(1.5)
    assert await other.tracker.register("a:n", "4") == 3
    await asyncio.sleep(0.3)
    await other.close()
    await empties(town)


async def test_a_socket_that_closes_while_it_opens_is_not_left_behind(town: Town) -> None:
    node = town.node()
    await asyncio.sleep(0.05)
    opening = [asyncio.create_task(node.tracker.register("ann", str(number))) for number in range(20)]
    await asyncio.sleep(0)
    for number, task in enumerate(opening):
        task.cancel()
        node.tracker.unregister("ann", str(number))
    await asyncio.gather(*opening, return_exceptions=True)
    await empties(town)
    assert await node.tracker.register("ann", "last") == 1


async def test_the_people_of_a_killed_node_leave(town: Town) -> None:
    one, other = town.node(SHORT), town.node(SHORT)
    _, watcher = await other.join(TOPIC, "zoe")
    await one.join(TOPIC, "ann")
    await one.join("group:2", "ann")
    await until(lambda: "ann" in watcher.state)
    await one.kill()
    took = await until(lambda: "ann" not in watcher.state)
    assert took < 2
    assert keys(watcher) == {"zoe": 1}
    await asyncio.sleep(0.3)  # they are told first, and then cleared away
    await other.close()
    await empties(town)


async def test_no_state_shows_who_was_on_a_dead_node(town: Town) -> None:
    one, other = town.node(replace(SHORT, look_s=60)), town.node(replace(SHORT, look_s=60))
    await one.join(TOPIC, "ann")
    await asyncio.sleep(0.1)
    await one.kill()
    await asyncio.sleep(0.6)
    _, watcher = await other.join(TOPIC, "zoe")
    assert keys(watcher) == {"zoe": 1}


async def test_where_the_one_who_clears_dies_another_goes_on(town: Town) -> None:
    one = town.node(SHORT)
    _, watcher = await one.join(TOPIC, "zoe")
    dead = town.node(SHORT)
    await dead.join(TOPIC, "ann")
    await until(lambda: "ann" in watcher.state)
    await one.hang()
    await dead.kill()
    board = town.board(SHORT)
    await asyncio.sleep(0.5)
    first, second = await board.claim(), await board.claim()
    assert first
    assert first != second  # one of them is the node that hangs
    one.wake()
    await until(lambda: "ann" not in watcher.state)
    await until(lambda: keys(watcher) == {"zoe": 1})


async def test_a_node_that_ends_takes_its_people_with_it_at_once(town: Town) -> None:
    figures = replace(FAST, ttl_s=60)
    one, other = town.node(figures), town.node(figures)
    _, watcher = await other.join(TOPIC, "zoe")
    await one.join(TOPIC, "ann")
    await one.tracker.register("ann", "1")
    await until(lambda: "ann" in watcher.state)
    await one.close()
    assert await until(lambda: "ann" not in watcher.state) < 1
    await other.close()
    await empties(town)


async def test_a_board_that_came_back_empty_is_filled_again(town: Town) -> None:
    one, other = town.node(), town.node()
    _, ann = await one.join(TOPIC, "ann")
    await one.tracker.register("ann", "1")
    _, bob = await other.join(TOPIC, "bob")
    await until(lambda: keys(ann) == {"ann": 1, "bob": 1})
    await town.forget()
    _, early = await other.join(TOPIC, "zoe")
    everybody = {"ann": 1, "bob": 1, "zoe": 1}
    for client in (ann, bob, early):
        await until(partial(shows, client, everybody))
    await asyncio.sleep(0.3)
    _, late = await other.join(TOPIC, "late")
    assert late.refs() >= ann.refs() - {meta["phx_ref"] for meta in ann.state.get("late", [])}
    for client in (ann, bob, early, late):
        await until(partial(same, client, late))
        assert keys(client) == {**everybody, "late": 1}
    assert await other.tracker.register("ann", "2") == 2


async def test_a_node_that_hung_comes_back_with_its_people(town: Town) -> None:
    one, other = town.node(SHORT), town.node(SHORT)
    _, ann = await one.join(TOPIC, "ann")
    _, bob = await other.join(TOPIC, "bob")
    await until(lambda: keys(ann) == {"ann": 1, "bob": 1})
    await one.hang()
    await until(lambda: keys(bob) == {"bob": 1})
    one.wake()
    await until(lambda: keys(bob) == {"ann": 1, "bob": 1})
    await until(lambda: ann.refs() == bob.refs())


async def test_a_crowd_is_a_number(town: Town) -> None:
    one, other = town.node(), town.node()
    _, early = await one.join(TOPIC, "p0")
    handles = [(await one.join(TOPIC, f"p{number}"))[0] for number in range(1, 7)]
    await until(lambda: len(early.state) == 7)
    await other.join(TOPIC, "p0")
    await other.join(TOPIC, "p0")
    await until(lambda: early.state == {} and early.count == 7)  # people, who have nine channels
    _, late = await other.join(TOPIC, "p8")
    assert late.state == {}
    assert late.count is not None
    await until(lambda: early.count == 8 and late.count == 8)
    diffs = len(early.diffs())
    for handle in handles[:4]:  # six channels: still a crowd
        one.leave(TOPIC, handle)
    await until(lambda: early.count == 4)
    assert len(early.diffs()) == diffs
    one.leave(TOPIC, handles[4])
    for client in (early, late):
        await until(partial(shows, client, {"p0": 3, "p6": 1, "p8": 1}))
        assert client.count is None
    one.leave(TOPIC, handles[5])
    for client in (early, late):
        await until(partial(shows, client, {"p0": 3, "p8": 1}))


async def test_a_number_is_told_now_and_then(town: Town) -> None:
    figures = replace(FAST, count_s=0.5)
    one, other = town.node(figures), town.node(figures)
    _, watcher = await one.join(TOPIC, "zoe")
    for number in range(20):
        one.tracker.track(TOPIC, f"a{number}")
    await until(lambda: watcher.count == 21)
    before = sum(event == "presence_count" for event, _ in watcher.events)
    for number in range(40):
        (one, other)[number % 2].tracker.track(TOPIC, f"b{number}")
        await asyncio.sleep(0.02)
    await until(lambda: watcher.count == 61)
    assert sum(event == "presence_count" for event, _ in watcher.events) - before <= 4


async def test_while_the_bus_is_away_nothing_is_forgotten(town: Town) -> None:
    one, other = town.node(), town.node()
    handle, ann = await one.join(TOPIC, "ann")
    _, bob = await other.join(TOPIC, "bob")
    await until(lambda: keys(bob) == {"ann": 1, "bob": 1} == keys(ann))
    town.wire.away = True
    one.leave(TOPIC, handle)
    await one.join(TOPIC, "cat")
    await asyncio.sleep(0.1)
    assert keys(bob) == {"ann": 1, "bob": 1}
    town.wire.away = False
    await until(lambda: keys(bob) == {"bob": 1, "cat": 1})


async def test_many_who_ask_at_once_share_a_reading(town: Town) -> None:
    one, other = town.node(), town.node()
    await other.join(TOPIC, "bob")
    await one.join(TOPIC, "ann")
    await asyncio.sleep(0.1)
    answers = await asyncio.gather(*(one.tracker.state(TOPIC) for _ in range(500)))
    # Those of one moment share one. A busy machine makes several moments of it.
    assert len({id(answer) for answer in answers[1:]}) <= 25


async def test_a_board_wants_the_node_alive(town: Town) -> None:
    board = town.board(SHORT)
    await board.begin("n", "")
    await board.beat("n")
    change = Change(TOPIC, "r" * 16, "ann", b'{"key":"ann","at":1,"ref":"rrrrrrrrrrrrrrrr","meta":{}}')
    assert [standing.topic for standing in await board.write("n", [change, change])] == [TOPIC]
    assert await board.seat("n", [Seat("ann", "1", True)]) == [1]
    await asyncio.sleep(0.5)
    with pytest.raises(Lost):
        await board.write("n", [change])
    with pytest.raises(Lost):
        await board.seat("n", [Seat("ann", "1", True)])
    with pytest.raises(Lost):
        await board.beat("n")
    assert await board.claim() == "n"
    assert await board.claim() == ""
    ((kept, crowded),) = await board.remains("n", 10)
    assert (kept.topic, kept.ref, kept.record, crowded) == (TOPIC, "r" * 16, change.record, False)
    gone = replace(change, record=b"")
    for _ in range(2):
        await board.bury("n", [gone])
    assert await board.remains("n", 10) == []
    assert await board.unseat("n", 10)
    assert not await board.unseat("n", 10)
    await empties(town)


# -- what only Redis does


@pytest.fixture
async def reader(valkey: Valkey) -> AsyncIterator[Presence]:
    """What other services ask."""
    await valkey.operator.flushall()
    redis = connect(valkey.url)
    yield Presence(redis)
    await redis.aclose()


@pytest.fixture
async def nodes(valkey: Valkey) -> AsyncIterator[Callable[..., Node]]:
    """Makes nodes on the server."""
    wire, made = Wire(), []
    async with AsyncExitStack() as stack:

        def make(figures: Figures = FAST) -> Node:
            redis = connect(valkey.url)
            stack.push_async_callback(redis.aclose)
            node = Node(RedisBoard(redis, figures), wire, figures)
            made.append(node)
            return node

        yield make
        for node in made:
            await node.close()


async def seen(reader: Presence, user_id: str, done: Callable[[Seen], bool]) -> Seen:
    """What others see of a person, as soon as `done` accepts it. A busy machine may be late with it."""

    async def read() -> Seen | None:
        with suppress(NotReady):
            return (await reader.of_people([user_id]))[user_id]
        return None

    found = await eventually(read, lambda found: found is not None and done(found))
    assert found is not None
    return found


async def registered(node: Node, user_id: str, socket_id: str) -> None:
    """One more socket, which the board knows."""
    await until(lambda: node.tracker._node)
    await node.tracker.register(user_id, socket_id)
    await until(lambda: not node.tracker._seats.unwritten)


async def test_others_see_who_is_connected(reader: Presence, nodes: Callable[..., Node]) -> None:
    # Nobody is taken for dead on a busy machine.
    here, there = nodes(LASTING), nodes(LASTING)
    for node, user_id, socket_id in ((here, "ann", "1"), (there, "ann", "2"), (there, "bob", "1")):
        await registered(node, user_id, socket_id)
    await seen(reader, "bob", lambda found: found.online)
    there.tracker.unregister("bob", "1")
    await seen(reader, "bob", lambda found: not found.online)
    await seen(reader, "ann", lambda found: found.sockets == 2)
    found = await reader.of_people(["bob", "ann", "nobody"])
    assert list(found) == ["bob", "ann", "nobody"]
    assert [(one.online, one.sockets) for one in found.values()] == [(False, 0), (True, 2), (False, 0)]
    assert found["bob"].last_active_time is not None
    assert found["nobody"].last_active_time is None
    assert await reader.of_people([]) == {}


def active_at(found: Seen) -> float:
    """When they were last active, in seconds since 1970; 0 where that is not known."""
    return found.last_active_time.timestamp() if found.last_active_time else 0.0


@pytest.mark.parametrize(("active_s", "written"), [(3_600.0, False), (0.0, True)], ids=["soon", "later"])
async def test_a_person_is_active_now_and_then(
    reader: Presence, nodes: Callable[..., Node], valkey: Valkey, active_s: float, written: bool
) -> None:
    """It is written when `active_s` have passed since it last was, as when the socket came, and not sooner."""
    node = nodes(replace(LASTING, active_s=active_s))
    await registered(node, "ann", "1")
    await seen(reader, "ann", lambda found: found.online)
    await valkey.operator.set("crown:presence:active:ann", 1)
    node.tracker.active("ann")
    node.tracker.active("stranger")
    if written:
        await seen(reader, "ann", lambda found: active_at(found) > 1)
        assert 29 * 86_400 < await valkey.operator.ttl("crown:presence:active:ann") <= 30 * 86_400
    else:
        # More than enough to write it.
        await asyncio.sleep(4 * FAST.count_s)
        assert active_at((await reader.of_people(["ann"]))["ann"]) == 1
    assert (await reader.of_people(["stranger"]))["stranger"].last_active_time is None


async def test_others_see_who_is_on_a_topic(reader: Presence, nodes: Callable[..., Node]) -> None:
    node = nodes(replace(FAST, crowd=10_000))
    assert (await reader.of_topic(TOPIC)).count == 0
    await node.tracker.register("zoe", "1")
    for key in ("zoe", "ann", "zoe", "bob"):
        node.tracker.track(TOPIC, key)
    await asyncio.sleep(0.2)
    crowd = await reader.of_topic(TOPIC, most=2)
    assert crowd.count == 3
    assert {key: seen.sockets for key, seen in crowd.people.items()} == {"zoe": 2, "ann": 1}
    assert crowd.people["zoe"].last_active_time is not None
    for number in range(1_000):
        node.tracker.track(TOPIC, f"p{number}")
    await asyncio.sleep(0.5)
    crowd = await reader.of_topic(TOPIC, most=100)
    assert crowd.count == 1_003
    assert len(crowd.people) == 100


async def test_a_write_that_comes_late_changes_nothing(valkey: Valkey, nodes: Callable[..., Node]) -> None:
    """What a hanging Redis finds on connections that were given up may be older than what it did already."""
    await valkey.operator.flushall()
    redis = connect(valkey.url)
    board, stale = RedisBoard(redis, FAST), RedisBoard(redis, FAST)
    await board.begin("n", "")
    joined = Change(TOPIC, "r" * 16, "ann", b"{}")
    left = replace(joined, record=b"")
    await board.write("n", [joined])
    await board.write("n", [left])
    with pytest.raises(Exception, match="later"):
        await stale.write("n", [joined])
    assert await valkey.operator.exists(f"crown:presence:topic:{TOPIC}") == 0
    await redis.aclose()


async def test_another_run_of_the_server_may_have_forgotten(valkey: Valkey) -> None:
    redis = connect(valkey.url)
    board, of_another_run = RedisBoard(redis, FAST), RedisBoard(redis, FAST)
    await board.begin("n", "")
    await board.beat("n")
    with pytest.raises(Lost):
        await of_another_run.beat("n")
    await redis.aclose()


async def test_ten_thousand_sockets_are_registered_in_few_round_trips(
    valkey: Valkey, nodes: Callable[..., Node], capsys: pytest.CaptureFixture[str]
) -> None:
    node = nodes()
    await node.tracker.register("warm", "up")
    loop = asyncio.get_running_loop()
    before = (await valkey.operator.info("commandstats"))["cmdstat_evalsha"]["calls"]
    began, cpu = loop.time(), time.process_time()
    await asyncio.gather(*(node.tracker.register(f"user{number}", "1") for number in range(10_000)))
    took, spent = loop.time() - began, time.process_time() - cpu
    calls = (await valkey.operator.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
    cpu = time.process_time()
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(10_000)))
    tasks = time.process_time() - cpu
    show(
        capsys,
        f"10,000 sockets: {took:.2f} s, {calls} round trips; {spent * 100:.1f} µs of CPU each, "
        f"of which {tasks * 100:.1f} are a task that does nothing",
    )
    assert calls < 100
    assert spent < 1.0


def show(capsys: pytest.CaptureFixture[str], figure: str) -> None:
    """Prints what was measured."""
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")


async def test_a_hanging_server_holds_nobody_up_for_longer_than_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Valkey(tmp_path)
    await server.start()
    figures = replace(FAST, ttl_s=10, beat_s=1, crowd=500, crowd_ends=400)
    wire = Wire()
    one_redis, other_redis = connect(server.url), connect(server.url)
    one, other = (Node(RedisBoard(redis, figures), wire, figures) for redis in (one_redis, other_redis))
    await one.join(TOPIC, "ann")
    _, bob = await other.join(TOPIC, "bob")
    everybody = {"ann", "bob", *(f"p{number}" for number in range(5))}
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.2)
    server.hang()
    slowest, clients, ends = 0.0, [], loop.time() + 3
    try:
        number = 0
        while loop.time() < ends:
            began = loop.time()
            clients.append((await one.join(TOPIC, f"p{number % 5}"))[1])
            count = await one.tracker.register("ann", str(number))
            slowest = max(slowest, loop.time() - began)
            number += 1
            assert count == number  # what this node knows
            await asyncio.sleep(0.1)
        assert keys(clients[0])["p0"] >= 1
        await until(lambda: keys(bob).get("p4", 0) >= 1)  # told, though not written
    finally:
        server.wake()
    for client in (bob, *clients):
        await until(partial(shows_only, client, everybody))
    await until(lambda: TOPIC in one.refreshed)
    await until(lambda: not one.tracker._unwritten and not one.tracker._seats.unwritten)
    assert await other.tracker.register("ann", "x") == number + 1
    show(capsys, f"slowest join while Redis hangs: {slowest:.2f} s; {number} joins in 3 s")
    assert slowest < 2
    assert number >= 6
    for node in (one, other):
        await node.close()
    await one_redis.aclose()
    await other_redis.aclose()
    await server.close()
