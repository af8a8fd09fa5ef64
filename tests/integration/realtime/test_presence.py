"""Presence over several nodes in a real Valkey: who is there, who is told of it, and that nobody stays for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crown.errors import NotReady
from crown.presence import Presence
from services.realtime import presence_redis
from services.realtime.presence_redis import RedisPresence, connect
from tests.integration.rig import Rig, until

TOPIC = "chat:lobby"


class Page:
    """What phoenix.js makes of states and diffs."""

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {}
        self.count: int | None = None

    def hear(self, event: str, payload: dict[str, Any]) -> None:
        """One event of the topic."""
        if event == "presence_count":
            self.count = payload["count"]
        elif event == "presence_state":
            self.people = {}
            self._join(payload)
        else:
            self._join(payload["joins"])
            self._leave(payload["leaves"])

    def _join(self, joins: dict[str, Any]) -> None:
        for key, value in joins.items():
            mine = self.people.setdefault(key, {})
            mine.update({meta["phx_ref"]: meta for meta in value["metas"]})

    def _leave(self, leaves: dict[str, Any]) -> None:
        for key, value in leaves.items():
            mine = self.people.get(key, {})
            for meta in value["metas"]:
                mine.pop(meta["phx_ref"], None)
            if not mine:
                self.people.pop(key, None)

    def refs(self) -> dict[str, set[str]]:
        """Entries by person."""
        return {key: set(metas) for key, metas in self.people.items()}


class World:
    """Nodes that share a Valkey, and a page that hears all that they tell."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.redis = connect(url)
        self.page = Page()
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._living: dict[str, asyncio.Task[None]] = {}
        self.nodes: dict[str, RedisPresence] = {}
        self._dead: list[RedisPresence] = []

    def start(self, name: str) -> RedisPresence:
        """A node that lives."""
        node = self.nodes[name] = RedisPresence(connect(self._url), name, self._tell, self._spawn)
        self._living[name] = asyncio.create_task(node.run())
        return node

    def kill(self, name: str) -> None:
        """It does nothing any more, and says nothing to anybody."""
        self._living.pop(name).cancel()
        self._dead.append(self.nodes.pop(name))

    def stand_still(self, name: str) -> None:
        """As a process that is stopped."""
        self._living.pop(name).cancel()

    def go_on(self, name: str) -> None:
        """And goes on."""
        self._living[name] = asyncio.create_task(self.nodes[name].run())

    async def close(self) -> None:
        """Ends all."""
        for task in [*self._living.values(), *self._tasks]:
            task.cancel()
        await asyncio.gather(*self._living.values(), *self._tasks, return_exceptions=True)
        for node in [*self.nodes.values(), *self._dead]:
            await node._redis.aclose()
        await self.redis.aclose()

    async def _tell(self, topic: str, event: str, payload: dict[str, Any]) -> None:
        self.told.append((topic, event, payload))
        if topic == TOPIC:
            self.page.hear(event, payload)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_redis, "TTL_S", 1)
    monkeypatch.setattr(presence_redis, "BEAT_S", 0.1)
    monkeypatch.setattr(presence_redis, "_STATE_KEPT_S", 0.0)


@pytest.fixture
async def world(rig: Rig) -> AsyncIterator[World]:
    """Two nodes, called a and b."""
    await rig.redis.flushall()
    made = World(rig.environment["REDIS_HOST"])
    made.start("a")
    made.start("b")
    await asyncio.sleep(0.1)
    yield made
    await made.close()


async def people(node: RedisPresence) -> dict[str, list[dict[str, Any]]]:
    """What a page that joins there is told."""
    ((event, payload),) = await node.state(TOPIC)
    assert event == "presence_state"
    return {key: value["metas"] for key, value in payload.items()}


def sees(world: World, expected: set[str]) -> Callable[[], Coroutine[Any, Any, bool]]:
    """Whether the page sees exactly these people, and every node says so too."""

    async def ask() -> bool:
        states = [set(await people(node)) for node in world.nodes.values()]
        return set(world.page.people) == expected and all(state == expected for state in states)

    return ask


async def test_who_is_on_one_node_is_seen_on_the_other(world: World) -> None:
    ref = await world.nodes["a"].track(TOPIC, "ann", {"device": "phone"})
    await until(sees(world, {"ann"}))
    ((meta,),) = (await people(world.nodes["b"])).values()
    assert meta["phx_ref"] == ref
    assert meta["device"] == "phone"
    assert abs(meta["online_at"] - time.time()) < 5
    await world.nodes["a"].untrack(TOPIC, ref)
    await until(sees(world, set()))


async def test_two_tabs_are_two_metas_and_one_person(world: World) -> None:
    first = await world.nodes["a"].track(TOPIC, "ann", {})
    await world.nodes["b"].track(TOPIC, "ann", {})
    await until(sees(world, {"ann"}))
    assert len((await people(world.nodes["a"]))["ann"]) == 2
    await world.nodes["a"].untrack(TOPIC, first)
    await asyncio.sleep(0.2)
    assert len(world.page.people["ann"]) == 1


async def test_saying_something_else_is_one_diff_that_names_the_entry_before(world: World) -> None:
    ref = await world.nodes["a"].track(TOPIC, "ann", {"status": "here"})
    await until(sees(world, {"ann"}))
    world.told.clear()
    new = await world.nodes["a"].update(TOPIC, ref, {"status": "away"})
    await asyncio.sleep(0.2)
    ((_, event, diff),) = world.told
    assert event == "presence_diff"
    (joined,) = diff["joins"]["ann"]["metas"]
    assert (joined["phx_ref"], joined["phx_ref_prev"], joined["status"]) == (new, ref, "away")
    assert [meta["phx_ref"] for meta in diff["leaves"]["ann"]["metas"]] == [ref]


async def test_a_rush_of_people_is_told_in_few_messages(world: World) -> None:
    await asyncio.gather(*(world.nodes["a"].track(TOPIC, f"p{number}", {}) for number in range(300)))
    await until(sees(world, {f"p{number}" for number in range(300)}))
    assert len(world.told) <= 3


async def test_who_was_on_a_node_that_died_leaves_within_the_time_that_is_stated(world: World) -> None:
    await world.nodes["a"].track(TOPIC, "ann", {})
    await world.nodes["b"].track(TOPIC, "bob", {})
    await world.nodes["a"].register("ann", "s1")
    reading = Presence(world.redis)
    assert (await reading.of_people(["ann"]))[0].online
    await until(sees(world, {"ann", "bob"}))
    began = time.monotonic()
    world.kill("a")
    await until(sees(world, {"bob"}))
    # A second of grace for the clock's seconds.
    assert time.monotonic() - began < presence_redis.TTL_S + presence_redis.BEAT_S + 1.5
    assert not (await reading.of_people(["ann"]))[0].online
    assert await world.redis.keys("*node:a*") in ([], [b"crown:presence:node:a:reaper"])


async def test_a_node_that_goes_by_itself_leaves_nothing(world: World) -> None:
    await world.nodes["a"].track(TOPIC, "ann", {})
    await world.nodes["a"].register("ann", "s1")
    await until(sees(world, {"ann"}))
    await world.nodes["a"].close()
    await until(sees(world, set()), within_s=0.5)
    assert (await Presence(world.redis).of_people(["ann"]))[0].sockets == 0


async def test_a_node_that_stood_still_is_back_with_its_people(world: World) -> None:
    await world.nodes["a"].track(TOPIC, "ann", {})
    await until(sees(world, {"ann"}))
    world.stand_still("a")
    await until(lambda: _not_seen(world, "ann"))
    world.go_on("a")
    await until(sees(world, {"ann"}))


async def _not_seen(world: World, key: str) -> bool:
    return key not in world.page.people and key not in await people(world.nodes["b"])


async def test_an_emptied_server_is_filled_again(world: World) -> None:
    await world.nodes["a"].track(TOPIC, "ann", {})
    await world.nodes["b"].register("bob", "s9")
    await until(sees(world, {"ann"}))
    await world.redis.flushall()
    await until(sees(world, {"ann"}), within_s=3)
    reading = Presence(world.redis)
    await until(lambda: _online(reading, "bob"), within_s=3)


async def _online(reading: Presence, user_id: str) -> bool:
    return (await reading.of_people([user_id]))[0].online


async def test_with_the_server_away_nobody_waits_long_and_all_is_made_good(world: World, rig: Rig) -> None:
    await world.nodes["a"].track(TOPIC, "ann", {})
    async with rig.suspended("valkey"):
        began = time.monotonic()
        refs = await asyncio.gather(*(world.nodes["a"].track(TOPIC, f"p{n}", {}) for n in range(50)))
        assert set(await people(world.nodes["a"])) == {"ann", *(f"p{n}" for n in range(50))}
        await world.nodes["a"].untrack(TOPIC, refs[0])
        assert await world.nodes["a"].register("ann", "s1") == 1
        assert time.monotonic() - began < 2.5
        with pytest.raises(NotReady):
            await Presence(world.redis).of_people(["ann"])
    await until(sees(world, {"ann", *(f"p{n}" for n in range(1, 50))}))
    assert (await Presence(world.redis).of_people(["ann"]))[0].sockets == 1


async def test_sockets_of_a_person_are_counted_over_all_nodes(world: World) -> None:
    assert await world.nodes["a"].register("ann", "1") == 1
    assert await world.nodes["b"].register("ann", "2") == 2
    assert await world.nodes["a"].register("bob", "3") == 1
    await world.nodes["a"].unregister("ann", "1")
    assert await world.nodes["b"].register("ann", "4") == 2
    seen = await Presence(world.redis).of_people(["ann", "bob", "eve"])
    assert [one.sockets for one in seen] == [2, 1, 0]
    assert seen[2].last_active_time is None
    assert seen[0].last_active_time is not None


async def test_ids_with_odd_characters_do_not_meet(world: World) -> None:
    for key in ("a:b", "a", "a/b", "a|b", "é"):
        await world.nodes["a"].track(f"chat:{key}", key, {})
        await world.nodes["a"].register(key, key)
    reading = Presence(world.redis)
    for key in ("a:b", "a", "a/b", "a|b", "é"):
        assert (await reading.of_topic(f"chat:{key}")).people == {key: 1}
        assert (await reading.of_people([key]))[0].sockets == 1


async def test_of_a_big_topic_only_the_number_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_redis, "_BIG_FROM", 20)
    monkeypatch.setattr(presence_redis, "_BIG_UNTIL", 10)
    monkeypatch.setattr(presence_redis, "COUNT_PERIOD_S", 0.3)
    node = world.nodes["a"]
    refs = [await node.track(TOPIC, f"p{number}", {}) for number in range(20)]
    await until(sees(world, {f"p{number}" for number in range(20)}))
    refs += [await node.track(TOPIC, f"q{number}", {}) for number in range(5)]
    await until(lambda: _counted(world, 25))
    assert world.page.people == {}
    assert await world.nodes["b"].state(TOPIC) == [("presence_state", {}), ("presence_count", {"count": 25})]
    world.told.clear()
    began = time.monotonic()
    for _ in range(10):
        await node.untrack(TOPIC, refs.pop())
        await asyncio.sleep(0.06)
    await until(lambda: _counted(world, 15))
    assert len(world.told) <= (time.monotonic() - began) / 0.3 + 2
    while len(refs) > 5:
        await node.untrack(TOPIC, refs.pop())
    await until(lambda: _small_again(world, 5))


async def _counted(world: World, count: int) -> bool:
    return world.page.count == count


async def _small_again(world: World, count: int) -> bool:
    return len(world.page.people) == count


STEP = st.tuples(
    st.sampled_from(["track"] * 4 + ["untrack", "untrack", "update", "kill", "flush", "still", "go"]),
    st.integers(0, 9),
)


@settings(
    max_examples=8,
    deadline=None,
    # Failing takes seconds; what is found first is told.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=st.lists(STEP, min_size=3, max_size=25))
async def test_whatever_happens_pages_and_nodes_agree_in_the_end(
    rig: Rig, script: list[tuple[str, int]]
) -> None:
    await rig.redis.flushall()
    world = World(rig.environment["REDIS_HOST"])
    expected: dict[str, dict[str, str]] = {"a": {}, "b": {}, "c": {}}
    still: set[str] = set()
    for name in expected:
        world.start(name)
    try:
        await asyncio.sleep(0.05)
        for what, number in script:
            name = "abc"[number % 3]
            if name in world.nodes:
                await _happen(world, what, name, number, expected, still)
        for name in still & set(world.nodes):
            world.go_on(name)
        if world.nodes:
            await until(lambda: _agree(world, expected), within_s=8)
    finally:
        await world.close()


async def _happen(
    world: World, what: str, name: str, number: int, expected: dict[str, dict[str, str]], still: set[str]
) -> None:
    node, mine = world.nodes[name], expected[name]
    match what:
        case "track":
            mine[await node.track(TOPIC, f"p{number}", {})] = f"p{number}"
        case "untrack" if mine:
            ref = next(iter(mine))
            await node.untrack(TOPIC, ref)
            del mine[ref]
        case "update" if mine:
            ref = next(iter(mine))
            mine[await node.update(TOPIC, ref, {"n": number})] = mine.pop(ref)
        case "kill" if len(world.nodes) > 1 and name not in still:
            world.kill(name)
            mine.clear()
        case "flush":
            await world.redis.flushall()
        case "still" if name not in still:
            world.stand_still(name)
            still.add(name)
        case "go" if name in still:
            world.go_on(name)
            still.discard(name)


async def _agree(world: World, expected: dict[str, dict[str, str]]) -> bool:
    wanted: dict[str, set[str]] = {}
    for mine in expected.values():
        for ref, key in mine.items():
            wanted.setdefault(key, set()).add(ref)
    states = []
    for node in world.nodes.values():
        found = await people(node)
        states.append({key: {meta["phx_ref"] for meta in metas} for key, metas in found.items()})
    return world.page.refs() == wanted and all(state == wanted for state in states)
