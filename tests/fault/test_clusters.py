"""Three servers of NATS and three of MongoDB under the whole suite: one is lost, cut off or asked to go, and two are.
With a majority the suite goes on; without one it refuses, and recovers by itself when there is one again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from crown import subjects
from tests.fault.history import Answer
from tests.fault.lan import Machine, Trouble
from tests.fault.servers import MONGO_PORT, Server, healthy, leader, primary
from tests.fault.table import Result
from tests.fault.trial import Fault, Found, Scene, goes_on, scene

pytestmark = pytest.mark.timeout(300)

PORT_BASE = 23_200
# Longer than it may take until the suite says that it has no majority.
HOLD_S = 13.0
# Votes, and the clients that have to find another server.
TURN_LIMIT_S = 12.0
CUT = Trouble(cut=True)

_Act = Callable[[Scene], Awaitable[None]]


@contextlib.contextmanager
def apart(place: Scene, one: Machine, others: Sequence[Machine]) -> Iterator[None]:
    """Nothing passes between `one` and `others`."""
    with ExitStack() as wires:
        for other in others:
            wires.enter_context(place.servers.lan.trouble(CUT, one, other))
        yield


async def _leader(place: Scene) -> Server:
    async with aiohttp.ClientSession() as http:
        return await leader(http, place.servers.nats, subjects.intake_stream("normal"))


async def _rejoined(*nodes: Server) -> None:
    """Until each has caught up."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        for node in nodes:
            while not await healthy(http, node):  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.2)


async def leader_killed(place: Scene) -> None:
    node = await _leader(place)
    await node.kill()
    await asyncio.sleep(HOLD_S)
    await node.start()
    await _rejoined(node)


async def leader_goes_by_itself(place: Scene) -> None:
    """As before an upgrade: it hands over what it leads, sends its clients to others, and ends."""
    node = await _leader(place)
    node.signal(signal.SIGUSR2)
    assert node.process is not None
    async with asyncio.timeout(60):
        await node.process.wait()
    await node.start()
    await _rejoined(node)


def leader_cut_off(from_clients: bool) -> _Act:
    async def act(place: Scene) -> None:
        node = await _leader(place)
        others = [other.machine for other in place.servers.nats if other is not node]
        with apart(place, node.machine, [*others, *([place.servers.lan.here] if from_clients else [])]):
            await asyncio.sleep(HOLD_S)
        await _rejoined(node)

    return act


async def two_killed(place: Scene) -> None:
    lost = place.servers.nats[:2]
    await asyncio.gather(*(node.kill() for node in lost))
    await asyncio.sleep(HOLD_S)
    await asyncio.gather(*(node.start() for node in lost))
    await _rejoined(*place.servers.nats)


async def primary_steps_down(place: Scene) -> None:
    old = await primary(place.servers.mongod)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        old.machine.address, MONGO_PORT, directConnection=True
    )
    async with client:
        with contextlib.suppress(PyMongoError):
            await client.admin.command("replSetStepDown", 10)
    await primary([member for member in place.servers.mongod if member is not old])


async def primary_killed(place: Scene) -> None:
    old = await primary(place.servers.mongod)
    await old.kill()
    await asyncio.sleep(HOLD_S)
    await old.start()


async def primary_cut_off(place: Scene) -> None:
    """Those that it led elect another. It is heard by clients all the while, and must not pass for a primary."""
    old = await primary(place.servers.mongod)
    others = [member for member in place.servers.mongod if member is not old]
    with apart(place, old.machine, [member.machine for member in others]):
        await primary(others)
        await asyncio.sleep(HOLD_S)


async def two_members_killed(place: Scene) -> None:
    lost = place.servers.mongod[:2]
    await asyncio.gather(*(member.kill() for member in lost))
    await asyncio.sleep(HOLD_S)
    await asyncio.gather(*(member.start() for member in lost))
    await primary(place.servers.mongod)


def refuses(found: Found) -> None:
    """Nobody hears yes while no majority can store it."""
    settled = [one for one in found.attempts(1.0) if one.ended < found.began + HOLD_S]
    assert settled
    assert not any(one.answer is Answer.ACCEPTED for one in settled)


def takes_again(found: Found) -> None:
    """Those that are left take over while the fault lasts."""
    late = found.attempts(TURN_LIMIT_S - HOLD_S)
    assert any(one.answer is Answer.ACCEPTED and one.ended < found.healed for one in late)


FAULTS: Mapping[str, Fault] = {
    "leader of NATS killed, of three": Fault(leader_killed, HOLD_S, takes_again),
    "leader of NATS cut off": Fault(leader_cut_off(from_clients=True), HOLD_S, takes_again),
    "leader of NATS cut off from its like": Fault(leader_cut_off(from_clients=False), HOLD_S),
    "two of three NATS killed": Fault(two_killed, HOLD_S, refuses, told=True),
    "a NATS server told to go": Fault(leader_goes_by_itself, HOLD_S),
    "primary of MongoDB steps down": Fault(primary_steps_down, 5, goes_on),
    "primary of MongoDB killed, of three": Fault(primary_killed, HOLD_S, goes_on),
    "primary of MongoDB cut off from its like": Fault(primary_cut_off, HOLD_S, goes_on),
    "two of three MongoDB killed": Fault(two_members_killed, HOLD_S, goes_on, told=True),
}


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("clusters"), PORT_BASE, 3, 3) as found:
        yield found


@pytest.mark.parametrize("name", FAULTS)
async def test_nothing_accepted_is_lost(
    name: str, place: Scene, tmp_path: Path, results: list[Result]
) -> None:
    await place.run(name, FAULTS[name], tmp_path, results)
