"""Coming back: to the same node, to another one, after a kill, after the bus was away. What was missed comes whole
and in order, or the client is told to read the inbox."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from crown.subjects import LIVE_KEPT_EACH
from tests.fault.proxy import Proxy
from tests.integration.rig import until

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.integration.realtime.conftest import Nats, Node, Person, Publisher, Trust

    Run = Callable[..., AbstractAsyncContextManager[Node]]
    PublishOn = Callable[[Nats], AbstractAsyncContextManager[Publisher]]


async def joined(person: Person, user: str, position: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the answer to a join says, from a position on where one is given."""
    since = {"since": position["offset"], "epoch": position["epoch"]} if position else {}
    answer = await person.join(f"user:{user}", **since)
    assert answer["status"] == "ok", answer
    response: dict[str, Any] = answer["response"]
    return response


async def notifications(person: Person, count: int) -> list[dict[str, Any]]:
    """The next notifications; other events are passed over."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        frame = await person.hear()
        if frame[3] == "notification":
            found.append(frame[4])
    return found


def ids(found: list[dict[str, Any]]) -> list[str]:
    """Of notifications."""
    return [payload["notification_id"] for payload in found]


async def test_who_comes_back_gets_what_was_missed_in_order_and_then_what_comes(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    token = trust.token(user)
    async with node.person(token) as person:
        await joined(person, user)
        await publisher.notify(user, "n0", title="t")
        (last,) = await notifications(person, 1)
    for number in range(1, 6):
        await publisher.notify(user, f"n{number}", title="t")
    async with node.person(token) as person:
        answer = await joined(person, user, last)
        assert answer == {"recovered": True, "offset": last["offset"], "epoch": last["epoch"]}
        await publisher.notify(user, "n6", title="t")
        found = await notifications(person, 6)
    assert ids(found) == [f"n{number}" for number in range(1, 7)]
    offsets = [payload["offset"] for payload in found]
    assert offsets == sorted(set(offsets))


async def test_who_missed_nothing_is_told_so(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    async with node.person(trust.token(user)) as person:
        position = await joined(person, user)
    await publisher.notify(f"{user}-other", "x", title="t")
    async with node.person(trust.token(user)) as person:
        answer = await joined(person, user, position)
        assert answer["recovered"] is True
        await publisher.notify(user, "n1", title="t")
        assert ids(await notifications(person, 1)) == ["n1"]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda position: {**position, "epoch": "0" * 12}, id="another epoch"),
        pytest.param(lambda position: {**position, "offset": position["offset"] + 10**9}, id="made up"),
    ],
)
async def test_a_position_that_says_nothing_here_recovers_nothing(
    node: Node, trust: Trust, publisher: Publisher, user: str, spoil: Callable[[Any], Any]
) -> None:
    async with node.person(trust.token(user)) as person:
        position = await joined(person, user)
    await publisher.notify(user, "n1", title="t")
    async with node.person(trust.token(user)) as person:
        answer = await joined(person, user, spoil(position))
        assert answer["recovered"] is False
        assert answer["epoch"] == position["epoch"]
        await publisher.notify(user, "n2", title="t")
        assert ids(await notifications(person, 1)) == ["n2"]


async def test_more_than_is_kept_recovers_nothing_and_as_much_as_is_kept_all(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    async with node.person(trust.token(user)) as person:
        before = await joined(person, user)
    offsets = [await publisher.notify(user, f"n{number}", title="t") for number in range(LIVE_KEPT_EACH + 1)]
    async with node.person(trust.token(user)) as person:
        assert (await joined(person, user, before))["recovered"] is False
    kept = {"offset": offsets[1], "epoch": before["epoch"]}
    async with node.person(trust.token(user)) as person:
        assert (await joined(person, user, kept))["recovered"] is True
        found = await notifications(person, LIVE_KEPT_EACH - 1)
    assert [payload["offset"] for payload in found] == offsets[2:]


async def test_another_node_knows_the_same_positions(
    nats: Nats, node: Node, run_node: Run, trust: Trust, publisher: Publisher, user: str
) -> None:
    async with run_node(nats) as other:
        async with node.person(trust.token(user)) as person:
            position = await joined(person, user)
        await publisher.notify(user, "n1", title="t")
        async with other.person(trust.token(user)) as person:
            assert (await joined(person, user, position))["recovered"] is True
            assert ids(await notifications(person, 1)) == ["n1"]


async def test_a_node_that_is_killed_loses_nothing(
    nats: Nats, run_node: Run, trust: Trust, publisher: Publisher, user: str
) -> None:
    async with run_node(nats) as node:
        async with node.person(trust.token(user)) as person:
            position = await joined(person, user)
            node.process.kill()
            await node.process.wait()
            await person.closed()
    await publisher.notify(user, "n1", title="t")
    async with run_node(nats) as again, again.person(trust.token(user)) as person:
        assert (await joined(person, user, position))["recovered"] is True
        assert ids(await notifications(person, 1)) == ["n1"]


async def test_a_node_that_lost_the_bus_for_a_while_makes_good_what_it_missed(
    nats: Nats, run_node: Run, trust: Trust, publisher: Publisher, user: str
) -> None:
    """The same server is still there, so the epoch is the same, and nobody has to read an inbox."""
    async with Proxy("127.0.0.1", nats.port) as proxy:
        async with run_node(nats, NATS_URL=f"nats://127.0.0.1:{proxy.port}") as node:
            async with node.person(trust.token(user)) as person:
                before = await joined(person, user)
                await publisher.notify(user, "n1", title="t")
                assert ids(await notifications(person, 1)) == ["n1"]
                await proxy.down()
                await publisher.notify(user, "n2", title="t")
                await publisher.notify(user, "n3", title="t")
                await proxy.up()
                found = await notifications(person, 2)
                assert ids(found) == ["n2", "n3"]
                assert {payload["epoch"] for payload in found} == {before["epoch"]}


async def test_an_older_image_of_the_store_is_another_epoch(
    own_nats: Nats, run_node: Run, trust: Trust, publish_on: PublishOn, user: str, tmp_path: Path
) -> None:
    """After a restore the stream hands out numbers again that clients have seen. Nobody is told that they missed
    nothing."""
    async with run_node(own_nats) as node:
        async with publish_on(own_nats) as publisher:
            await publisher.notify(user, "before", title="t")
        await own_nats.kill()
        image = tmp_path / "image"
        shutil.copytree(tmp_path / "store", image)
        await own_nats.start()
        async with publish_on(own_nats) as publisher:
            async with node.person(trust.token(user)) as person:
                await _joined_at_last(person, user)
                for number in range(3):
                    await publisher.notify(user, f"n{number}", title="t")
                last = (await notifications(person, 3))[-1]
                await own_nats.kill()
                shutil.rmtree(tmp_path / "store")
                shutil.copytree(image, tmp_path / "store")
                await own_nats.start()
                # Whoever stayed is told.
                while (frame := await person.hear())[3] != "resync":
                    pass
                assert frame[4]["recovered"] is False
                assert frame[4]["epoch"] != last["epoch"]
        async with publish_on(own_nats) as publisher:
            # The same numbers, of other events.
            again = [await publisher.notify(user, f"other{number}", title="t") for number in range(4)]
            assert last["offset"] in again
        async with node.person(trust.token(user)) as person:
            answer = await joined(person, user, last)
            assert answer["recovered"] is False
            assert answer["epoch"] != last["epoch"]


async def _joined_at_last(person: Person, user: str) -> None:
    async def status() -> str:
        return str((await person.join(f"user:{user}"))["status"])

    await until(status, lambda found: found == "ok")


class App:
    """What a page does: comes back whenever it is cut off, to any node, and goes on from its last position."""

    def __init__(self, user: str, token: str, nodes: Callable[[], list[Node]]) -> None:
        self.user = user
        self._token = token
        self._nodes = nodes
        self._position: dict[str, Any] | None = None
        self.got: list[str] = []
        self.offsets: list[int] = []
        self.resyncs = 0
        self._connection: aiohttp.ClientWebSocketResponse | None = None

    @property
    def is_in(self) -> bool:
        """True once it has joined."""
        return self._position is not None

    def cut(self) -> None:
        """Breaks its connection off, if it has one."""
        response = self._connection and self._connection._response
        if response and response.connection and response.connection.transport:
            response.connection.transport.abort()

    async def live(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self._visit(random.choice(self._nodes()))
            except (aiohttp.ClientError, OSError, TimeoutError, AssertionError, IndexError):
                await asyncio.sleep(0.02)

    async def _visit(self, node: Node) -> None:
        async with node.person(self._token) as person:
            self._connection = person.connection
            answer = await joined(person, self.user, self._position)
            if self._position is not None and not answer["recovered"]:
                self.resyncs += 1
            self._position = answer
            while True:
                frame = await person.hear(60)
                if frame[3] == "notification":
                    self._position = frame[4]
                    self.got.append(frame[4]["notification_id"])
                    self.offsets.append(frame[4]["offset"])


class Nodes:
    """Two nodes, one of which is killed and replaced now and then."""

    def __init__(self, start: Callable[[], AbstractAsyncContextManager[Node]]) -> None:
        self._start = start
        self._stacks: dict[int, AsyncExitStack] = {}
        self._nodes: dict[int, Node] = {}

    def alive(self) -> list[Node]:
        """Those that run."""
        return list(self._nodes.values())

    async def start(self, number: int) -> None:
        """Starts one."""
        stack = self._stacks[number] = AsyncExitStack()
        self._nodes[number] = await stack.enter_async_context(self._start())

    async def replace(self, number: int) -> None:
        """Kills one, and starts another in its place."""
        self._nodes.pop(number).process.kill()
        await self._stacks[number].aclose()
        await self.start(number)

    async def close(self) -> None:
        """Stops them."""
        for stack in self._stacks.values():
            await stack.aclose()


@pytest.mark.parametrize("seed", [1, 2])
async def test_kills_and_cuts_never_lose_repeat_or_reorder(
    nats: Nats, run_node: Run, trust: Trust, publisher: Publisher, people: Any, seed: int
) -> None:
    """Ten people on two nodes; connections are cut, and nodes killed and replaced, while messages go on."""
    chance = random.Random(seed)
    nodes = Nodes(lambda: run_node(nats))
    apps = [App(user, trust.token(user), nodes.alive) for user in (next(people) for _ in range(10))]
    sent: dict[str, list[str]] = {app.user: [] for app in apps}
    living = [asyncio.create_task(app.live()) for app in apps]
    try:
        for number in (0, 1):
            await nodes.start(number)
        await until(_are(lambda: all(app.is_in for app in apps)))
        for step in range(400):
            app = chance.choice(apps)
            sent[app.user].append(f"s{seed}-{step}")
            await publisher.notify(app.user, sent[app.user][-1], title="t")
            if chance.random() < 0.1:
                chance.choice(apps).cut()
            if step in (120, 261):
                await nodes.replace(step % 2)
            await asyncio.sleep(0.003)
        await until(_are(lambda: all(len(app.got) >= len(sent[app.user]) for app in apps)))
    finally:
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
        await nodes.close()
    for app in apps:
        assert app.resyncs == 0
        assert app.got == sent[app.user]
        assert app.offsets == sorted(set(app.offsets))


def _are(question: Callable[[], bool]) -> Callable[[], Any]:
    async def ask() -> bool:
        return question()

    return ask
