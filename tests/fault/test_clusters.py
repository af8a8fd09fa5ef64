"""Three servers of NATS and three of MongoDB under the whole suite: one is lost, cut off or asked to go, and two are.
With a majority the suite goes on; without one it refuses, and recovers by itself when there is one again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from crown import subjects
from tests.fault import bus
from tests.fault.history import Answer, Book, Sent, read
from tests.fault.lan import Machine, Trouble
from tests.fault.load import plan
from tests.fault.servers import MONGO_PORT, Server, healthy, leader, primary
from tests.fault.table import Result
from tests.fault.trial import QUIET_LIMIT_S, RATE, SEED, Fault, Found, Scene, goes_on, scene

pytestmark = pytest.mark.timeout(300)

PORT_BASE = 23_200
# Longer than it may take until the suite says that it has no majority.
HOLD_S = 13.0
# Votes, and the clients that have to find another server.
TURN_LIMIT_S = 12.0
CUT = Trouble(cut=True)
INTAKE = subjects.dispatcher("normal")
SENDS_WAITING = 90

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
        return await leader(http, place.servers.nats, INTAKE.stream)


async def _rejoined(*nodes: Server) -> None:
    """Until each has caught up."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        for node in nodes:
            while not await healthy(http, node):  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.2)


async def leader_killed(place: Scene) -> None:
    await _killed(await _leader(place))


async def follower_killed(place: Scene) -> None:
    leader = await _leader(place)
    await _killed(next(node for node in place.servers.nats if node is not leader))


async def _killed(node: Server) -> None:
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


async def _has_lead(place: Scene, node: Server) -> None:
    """From now on dispatch is given what is on the disk of `node`."""
    async with bus.streams(place.stack.environment("operator")) as streams, asyncio.timeout(60):
        await streams.lead(node.machine.name, INTAKE.stream)
        await streams.lead(node.machine.name, INTAKE.stream, INTAKE.name)


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


async def secondary_killed(place: Scene) -> None:
    leads = await primary(place.servers.mongod)
    other = next(member for member in place.servers.mongod if member is not leads)
    await other.kill()
    await asyncio.sleep(HOLD_S)
    await other.start()


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
    "another of three NATS killed": Fault(follower_killed, HOLD_S, takes_again),
    "leader of NATS cut off": Fault(leader_cut_off(from_clients=True), HOLD_S, takes_again),
    "leader of NATS cut off from its like": Fault(leader_cut_off(from_clients=False), HOLD_S),
    "two of three NATS killed": Fault(two_killed, HOLD_S, refuses, told=True),
    "a NATS server told to go": Fault(leader_goes_by_itself, HOLD_S, goes_on),
    "primary of MongoDB steps down": Fault(primary_steps_down, 5, goes_on),
    "primary of MongoDB killed, of three": Fault(primary_killed, HOLD_S, goes_on),
    "secondary of MongoDB killed": Fault(secondary_killed, HOLD_S, goes_on),
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


# -- what one of three has stored changes while it is down


def _bit_flipped(content: bytearray, places: Sequence[tuple[int, str]]) -> set[str]:
    at, hit = places[len(places) // 2]
    content[at] ^= 1
    return {hit}


def _third_cut_off(content: bytearray, places: Sequence[tuple[int, str]]) -> set[str]:
    kept = len(places) * 2 // 3
    del content[places[kept][0] :]
    return {identifier for _, identifier in places[kept:]}


DAMAGES = {"a bit flipped": _bit_flipped, "a third cut off": _third_cut_off}


def _damage(node: Server, how: str, ids: Iterable[str]) -> set[str]:
    """Changes the file of the intake that holds most of these notifications; answers which stood where it is wrong
    now."""
    found = []
    for block in node.store.rglob(f"{INTAKE.stream}/msgs/*.blk"):
        content = bytearray(block.read_bytes())
        places = sorted((at, one) for one in ids if (at := content.find(one.encode())) >= 0)
        found.append((len(places), block, content, places))
    _, block, content, places = max(found, key=lambda one: one[0])
    hit = DAMAGES[how](content, places)
    block.write_bytes(content)
    return hit


@pytest.mark.parametrize(
    ("how", "then"),
    [
        ("a bit flipped", "it leads"),
        ("a third cut off", "another leads"),
        ("a third cut off", "it leads"),
        ("a third cut off", "its store is removed and it leads"),
    ],
)
async def test_a_changed_file_of_one_of_three(
    how: str, then: str, place: Scene, tmp_path: Path, results: list[Result]
) -> None:
    """NATS does not compare what its servers hold: where the one leads whose file has changed, dispatch misses what
    stood there, though the others have it. A server whose store was removed gets all from them."""
    leader = await _leader(place)
    node = next(one for one in place.servers.nats if one is not leader)
    await place.site.begin()
    async with bus.streams(place.stack.environment("operator")) as streams:
        async with streams.held(INTAKE.stream, INTAKE.name):
            history = await _wait_in_the_intake(place, f"{how} {then}", tmp_path / "requests.jsonl")
            accepted = {sent.request.notification_id for sent in history if sent.answer is Answer.ACCEPTED}
            await node.stop()
            hit = _damage(node, how, accepted)
            if "removed" in then:
                shutil.rmtree(node.store)
            await node.start()
            await _rejoined(node)
            await _has_lead(place, leader if then == "another leads" else node)
    expected = hit if then == "it leads" else set()
    left = await place.site.quiet(
        [sent for sent in history if sent.request.notification_id not in expected], QUIET_LIMIT_S
    )
    lost = accepted - {row.notification_id for row in (await place.site.evidence()).rows}
    # What is left of it must not meet the next one.
    await node.stop()
    shutil.rmtree(node.store)
    await node.start()
    await _rejoined(node)
    results.append(
        Result(
            fault=f"file of one of three NATS changed, {how}, and {then}",
            seed=SEED,
            rate=RATE,
            asked=len(history),
            accepted=len(accepted),
            lost=len(lost),
            wrong=left,
        )
    )
    assert not left
    assert hit
    assert lost == expected


async def _wait_in_the_intake(place: Scene, name: str, ledger: Path) -> list[Sent]:
    """Sends, and answers what was sent."""
    with Book(ledger) as book:
        tasks = plan(name.replace(" ", "-"), SEED, SENDS_WAITING, place.site.people)
        await place.site.load(book, random.Random(SEED)).run(tasks, RATE)
    return read(ledger)
