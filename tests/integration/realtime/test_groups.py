"""Groups over two nodes, with a real store and a real Valkey: who gets in, what members see of each other, and that
whoever is removed is out, wherever they are connected."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from crown.bus import Bus, Outgoing
from crown.groups import Group, Groups
from crown.notification.v1 import events_pb2
from crown.subjects import live
from tests.integration.realtime.conftest import free_port
from tests.integration.rig import Rig, Service, until

LOBBY = "chat:lobby"
# What a node that is killed may take to be missed: ten seconds to count as dead, two until somebody looks.
GONE_WITHIN_S = 13.0


@dataclass
class Member:
    """A raw Phoenix client that keeps what it hears."""

    socket: aiohttp.ClientWebSocketResponse
    user: str

    def __post_init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.people: dict[str, set[str]] = {}
        self._ref = 0
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def read(self) -> None:
        """Until the connection ends."""
        async for message in self.socket:
            _, ref, _, event, payload = json.loads(message.data)
            if event == "phx_reply":
                self._replies.pop(ref).set_result(payload)
            else:
                self._note(event, payload)

    async def ask(self, event: str, payload: object = None, topic: str = LOBBY) -> dict[str, Any]:
        """Sends an event; answers the reply."""
        self._ref += 1
        ref = str(self._ref)
        reply = self._replies[ref] = asyncio.get_running_loop().create_future()
        join_ref = ref if event == "phx_join" else None
        await self.socket.send_str(json.dumps([join_ref, ref, topic, event, payload or {}]))
        async with asyncio.timeout(10):
            answer: dict[str, Any] = await reply
            return answer

    def events(self, name: str) -> list[Any]:
        """The payloads of the events of that name, so far."""
        return [payload for event, payload in self.heard if event == name]

    def _note(self, event: str, payload: Any) -> None:
        self.heard.append((event, payload))
        if event == "presence_state":
            self.people = {key: {m["phx_ref"] for m in value["metas"]} for key, value in payload.items()}
        elif event == "presence_diff":
            for key, value in payload["joins"].items():
                self.people.setdefault(key, set()).update(meta["phx_ref"] for meta in value["metas"])
            for key, value in payload["leaves"].items():
                left = self.people.get(key, set()) - {meta["phx_ref"] for meta in value["metas"]}
                self.people = {**self.people, key: left} if left else _without(self.people, key)


def _without(people: dict[str, set[str]], key: str) -> dict[str, set[str]]:
    return {other: refs for other, refs in people.items() if other != key}


@dataclass
class Nodes:
    """Two realtime processes, and people who connect to either."""

    rig: Rig
    groups: Groups
    lobby: Group
    bus: Bus
    ports: tuple[int, int]
    services: tuple[Service, Service]

    @asynccontextmanager
    async def member(self, user: str, node: int, *, join: bool = True) -> AsyncIterator[Member]:
        """A client of `user` on a node, in the lobby."""
        url = f"http://127.0.0.1:{self.ports[node]}/socket/websocket?vsn=2.0.0&token={self.rig.token(user=user)}"
        async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
            member = Member(socket, user)
            reading = asyncio.create_task(member.read())
            try:
                if join:
                    assert (await member.ask("phx_join"))["status"] == "ok"
                yield member
            finally:
                reading.cancel()


@pytest.fixture
async def nodes(rig: Rig) -> AsyncIterator[Nodes]:
    """Two nodes, and a lobby with ann, bob and eve in it."""
    await rig.empty()
    groups = Groups(rig.db)
    lobby = await groups.put("lobby", "chat", client_events=True)
    await groups.add(lobby, ["ann", "bob", "eve"])
    async with AsyncExitStack() as stack:
        bus = await Bus.connect(rig.settings(), "tests")
        stack.push_async_callback(bus.close)
        ports, services = [], []
        for number in range(2):
            ports.append(free_port())
            more = {"CROWN_WEBSOCKET_PORT": str(ports[-1]), "CROWN_LONGPOLL_PORT": str(free_port())}
            started = rig.started(["-m", "services.realtime"], f"realtime{number}", CROWN_GRACE_S="3", **more)
            services.append(await stack.enter_async_context(started))
        for service in services:
            await service.serving()
        yield Nodes(rig, groups, lobby, bus, (ports[0], ports[1]), (services[0], services[1]))


def sees(member: Member, *people: str) -> Callable[[], Any]:
    """Whether the member sees exactly these people."""

    async def ask() -> bool:
        return set(member.people) == set(people)

    return ask


def hears(member: Member, event: str, count: int = 1) -> Callable[[], Any]:
    """Whether the member has heard an event so often."""

    async def ask() -> bool:
        return len(member.events(event)) >= count

    return ask


async def test_members_on_two_nodes_see_and_hear_each_other(nodes: Nodes) -> None:
    async with nodes.member("ann", 0) as ann, nodes.member("bob", 1) as bob:
        await until(sees(ann, "ann", "bob"))
        await until(sees(bob, "ann", "bob"))
        assert await ann.ask("message", {"text": "hi"}) == {"status": "ok", "response": {}}
        await ann.ask("typing")
        await until(hears(bob, "typing"))
        assert bob.events("message") == [{"text": "hi", "user_id": "ann"}]
        assert bob.events("typing")[0]["user_id"] == "ann"
        assert ann.events("message") == []
        async with nodes.member("eve", 0):
            await until(sees(bob, "ann", "bob", "eve"))
        await until(sees(bob, "ann", "bob"))


async def test_a_stranger_stays_out(nodes: Nodes) -> None:
    async with nodes.member("mallory", 0, join=False) as mallory, nodes.member("ann", 1):
        refused = await mallory.ask("phx_join")
        assert (refused["status"], refused["response"]["reason"]) == ("error", "NOT_ALLOWED")
        assert mallory.heard == []


async def test_who_is_removed_is_sent_away_on_every_node_at_once(nodes: Nodes) -> None:
    async with (
        nodes.member("ann", 0) as ann,
        nodes.member("bob", 0) as first,
        nodes.member("bob", 1) as second,
    ):
        await until(sees(ann, "ann", "bob"))
        await nodes.groups.remove(nodes.lobby, ["bob"])
        body = events_pb2.EphemeralEvent(removed=["bob"]).SerializeToString()
        await nodes.bus.tell([Outgoing(live(LOBBY), body)])
        for tab in (first, second):
            await until(hears(tab, "phx_close"), within_s=2)
            assert tab.events("removed") == [{"reason": "NOT_ALLOWED"}]
            assert (await tab.ask("phx_join"))["response"]["reason"] == "NOT_ALLOWED"
        await until(sees(ann, "ann"))
        assert ann.events("removed") == []


async def test_a_node_that_is_killed_takes_its_people_with_it_in_the_time_that_is_stated(
    nodes: Nodes,
) -> None:
    async with nodes.member("ann", 0) as ann, nodes.member("bob", 1):
        await until(sees(ann, "ann", "bob"))
        began = time.monotonic()
        nodes.services[1].signal(signal.SIGKILL)
        await nodes.services[1].ended()
        await until(sees(ann, "ann"), within_s=GONE_WITHIN_S)
        print(f"gone after {time.monotonic() - began:.1f} s")  # noqa: T201


async def test_a_node_that_is_stopped_leaves_no_zombies(nodes: Nodes) -> None:
    async with nodes.member("ann", 0) as ann, nodes.member("bob", 1):
        await until(sees(ann, "ann", "bob"))
        await nodes.services[1].stop()
        await until(sees(ann, "ann"), within_s=2)


async def test_with_valkey_away_people_get_in_and_are_seen_when_it_is_back(nodes: Nodes, rig: Rig) -> None:
    async with nodes.member("ann", 0) as ann:
        await until(sees(ann, "ann"))
        async with rig.suspended("valkey"):
            began = time.monotonic()
            async with nodes.member("bob", 1) as bob:
                assert time.monotonic() - began < 3
                await ann.ask("message", {"text": "hi"})
                await until(hears(bob, "message"))
        async with nodes.member("eve", 1) as eve:
            await until(sees(eve, "ann", "eve"))
            await until(sees(ann, "ann", "eve"))


async def test_valkey_that_comes_back_empty_is_filled_again(nodes: Nodes, rig: Rig) -> None:
    async with nodes.member("ann", 0) as ann, nodes.member("bob", 1):
        await until(sees(ann, "ann", "bob"))
        await rig.killed("valkey")
        # The rig's own connection broke with it.
        await rig.redis.connection_pool.disconnect()
        await asyncio.sleep(6)
        async with nodes.member("eve", 0) as eve:
            await until(sees(eve, "ann", "bob", "eve"), within_s=8)


async def test_with_the_store_away_members_stay_and_who_comes_is_told_to_wait(nodes: Nodes, rig: Rig) -> None:
    async with nodes.member("ann", 0) as ann, nodes.member("bob", 1, join=False) as bob:
        async with rig.suspended("mongod"):
            refused = await bob.ask("phx_join")
            assert refused["response"]["reason"] in {"STORE_UNAVAILABLE", "BUS_UNAVAILABLE"}
            # One's own topic needs no store.
            assert (await bob.ask("phx_join", topic="user:bob"))["status"] == "ok"
        assert (await bob.ask("phx_join"))["status"] == "ok"
        await ann.ask("message", {"text": "hi"})
        await until(hears(bob, "message"))
        assert ann.events("removed") == []
