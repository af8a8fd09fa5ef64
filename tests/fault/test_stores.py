"""NATS, MongoDB and Valkey die, hang, forget, fill up and are cut off in the middle of the load, one of each.
Accepting needs NATS alone; without it the answer is a clear no or "unknown". Whatever comes, every process of ours
lives through it, goes on by itself, and what was accepted ends once."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import grpc.aio
import pytest
from redis.asyncio import Redis

from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from services.ingest.intake import commit
from tests.fault import bus
from tests.fault.checker import Bounds, check
from tests.fault.history import Answer, Book, read
from tests.fault.lan import Trouble
from tests.fault.load import plan
from tests.fault.servers import Server
from tests.fault.table import Result
from tests.fault.trial import LONG_S, RATE, SEED, Fault, Found, Scene, goes_on, scene

pytestmark = pytest.mark.timeout(300)

PORT_BASE = 23_000
# Until a client has learned that its link is gone.
NOTICE_S = 1.0
# Sooner than a publish is waited for: it was not even tried.
NO_MOST_S = 2.0
SENDS_RESTORED = 80
# The sweeper leaves alone for a minute what may be under way, and the bus gives again after half of one.
SWEPT_LIMIT_S = 180.0
CUT = Trouble(cut=True)
RESET = Trouble(reset=True)

_Act = Callable[[Scene], Awaitable[None]]


# -- what happens


def _one(place: Scene, name: str) -> Server:
    servers = place.servers
    return {"nats": servers.nats[0], "mongod": servers.mongod[0], "valkey": servers.valkey}[name]


def killed(name: str, away_s: float) -> _Act:
    async def act(place: Scene) -> None:
        server = _one(place, name)
        await server.kill()
        await asyncio.sleep(away_s)
        await server.start()

    return act


def hangs(name: str, hold_s: float) -> _Act:
    async def act(place: Scene) -> None:
        server = _one(place, name)
        server.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(hold_s)
        finally:
            server.signal(signal.SIGCONT)

    return act


def troubled(trouble: Trouble, hold_s: float, *names: str, up: bool = True, down: bool = True) -> _Act:
    """On the wires to these: `up` is what goes to them, `down` what comes back."""

    async def act(place: Scene) -> None:
        lan = place.servers.lan
        with ExitStack() as wires:
            for name in names:
                machine = _one(place, name).machine
                if up:
                    wires.enter_context(lan.one_way(trouble, lan.here, machine))
                if down:
                    wires.enter_context(lan.one_way(trouble, machine, lan.here))
            await asyncio.sleep(hold_s)

    return act


def dispatcher_cut_off(name: str, hold_s: float) -> _Act:
    """A dispatcher beside those of the suite, on a machine of its own: it alone loses its way to the server, with
    work in its hands that others then do, and finds it again."""

    async def act(place: Scene) -> None:
        lan = place.servers.lan
        machine = lan.machine("dispatch-2")
        environment = {
            **os.environ,
            **place.stack.environment("ingest-dispatch"),
            "CROWN_BIND": machine.address,
        }
        dispatcher = Server(
            machine,
            (sys.executable, "-m", "services.ingest", "dispatch"),
            environment,
            int(environment["CROWN_GRPC_PORT"]),
            place.stack.layout.log("dispatch-2"),
            place.stack.layout.folder,
        )
        try:
            await dispatcher.start()
            await asyncio.sleep(3)
            with lan.trouble(CUT, machine, _one(place, name).machine):
                await asyncio.sleep(hold_s)
            await asyncio.sleep(3)
        finally:
            await dispatcher.end()

    return act


def _valkey(place: Scene) -> Redis:
    return Redis(host=place.servers.valkey.machine.address)


async def forgets(place: Scene) -> None:
    async with _valkey(place) as client:
        for _ in range(5):
            await client.flushall()
            await asyncio.sleep(1)


async def is_full(place: Scene) -> None:
    async with _valkey(place) as client:
        await client.config_set("maxmemory", 1)
        await asyncio.sleep(10)
        await client.config_set("maxmemory", 512 << 20)


# -- what has to be true


def refuses_at_once(found: Found) -> None:
    """A clear no, from when the link was seen to be gone."""
    others = [one for one in found.attempts(NOTICE_S) if one.answer is not Answer.ACCEPTED]
    assert others
    assert all("BUS_UNAVAILABLE" in one.detail or "INVALID" in one.detail for one in others), others
    assert max(one.ended - one.began for one in others) < NO_MOST_S


def knows_not(found: Found) -> None:
    """Nobody hears yes; who asked before the link was taken for dead waits, and hears in the end that it is unknown
    where it lasts longer than they are let wait."""
    attempts = found.attempts(NOTICE_S)
    assert not any(one.answer is Answer.ACCEPTED and one.ended < found.healed for one in attempts)
    if found.healed - found.began > commit.PATIENCE_S:
        assert any(one.answer is Answer.UNKNOWN for one in attempts)


FAULTS: Mapping[str, Fault] = {
    "NATS killed, back after 1 s": Fault(killed("nats", 1), 1),
    "NATS killed, back after 10 s": Fault(killed("nats", 10), 10, refuses_at_once),
    # The client tries twice a second: more often than the 60 times after which it would by default give up for good.
    "NATS away for more than 60 attempts": Fault(killed("nats", 35), 35, refuses_at_once, told=True),
    "NATS hangs for 30 s": Fault(hangs("nats", LONG_S), LONG_S, knows_not, told=True),
    "mongod killed, back after 10 s": Fault(killed("mongod", 10), 10, goes_on),
    "mongod killed, back after 60 s": Fault(killed("mongod", 60), 60, goes_on, told=True),
    "mongod hangs for 15 s": Fault(hangs("mongod", 15), 15, goes_on, told=True),
    "mongod answers 2 s late": Fault(troubled(Trouble(delay_s=1.0), 10, "mongod"), 10, goes_on),
    "Valkey killed, back and empty after 10 s": Fault(killed("valkey", 10), 10, goes_on),
    "Valkey hangs for 30 s": Fault(hangs("valkey", LONG_S), LONG_S, goes_on),
    "Valkey cut off for 10 s": Fault(troubled(CUT, 10, "valkey"), 10, goes_on),
    "Valkey emptied five times": Fault(forgets, 5, goes_on),
    "Valkey full for 10 s": Fault(is_full, 10, goes_on),
    "NATS cut off for 5 s": Fault(troubled(CUT, 5, "nats"), 5, knows_not),
    "NATS cut off for 30 s": Fault(troubled(CUT, LONG_S, "nats"), LONG_S, knows_not, told=True),
    "nothing gets to NATS for 10 s": Fault(troubled(CUT, 10, "nats", down=False), 10, knows_not),
    "nothing comes from NATS for 10 s": Fault(troubled(CUT, 10, "nats", up=False), 10, knows_not),
    "mongod cut off for 5 s": Fault(troubled(CUT, 5, "mongod"), 5, goes_on),
    "mongod cut off for 30 s": Fault(troubled(CUT, LONG_S, "mongod"), LONG_S, goes_on, told=True),
    "nothing comes from mongod for 10 s": Fault(troubled(CUT, 10, "mongod", up=False), 10, goes_on),
    "connections to mongod reset for 5 s": Fault(troubled(RESET, 5, "mongod"), 5, goes_on),
    "connections to NATS reset for 5 s": Fault(troubled(RESET, 5, "nats"), 5, refuses_at_once),
    "one dispatcher cut off from NATS for 25 s": Fault(dispatcher_cut_off("nats", 25), LONG_S, goes_on),
    "one dispatcher cut off from mongod for 25 s": Fault(dispatcher_cut_off("mongod", 25), LONG_S, goes_on),
    "30 % of all packets lost": Fault(troubled(Trouble(loss=0.3), 15, "nats", "mongod", "valkey"), 15),
    "50 ms late, give or take 50": Fault(
        troubled(Trouble(delay_s=0.05, jitter_s=0.05), 10, "nats", "mongod", "valkey"), 10
    ),
    "64 kbit/s to NATS": Fault(troubled(Trouble(bytes_per_s=8_000), 10, "nats"), 10),
}


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("stores"), PORT_BASE) as found:
        yield found


@pytest.mark.parametrize("name", FAULTS)
async def test_nothing_accepted_is_lost(
    name: str, place: Scene, tmp_path: Path, results: list[Result]
) -> None:
    await place.run(name, FAULTS[name], tmp_path, results)


async def test_reads_say_that_the_store_is_away(place: Scene) -> None:
    """In time, and with the code that means: ask again. Who watches over processes sees no reason to end one."""
    stub = InboxServiceStub(place.site.gateway)
    metadata = (("authorization", f"Bearer {place.stack.token(user='fan-1')}"),)

    async def read() -> str:
        try:
            await stub.ListNotifications(
                ListNotificationsRequest(user_id="fan-1"), metadata=metadata, timeout=10
            )
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    assert await read() == "OK"
    server = _one(place, "mongod")
    await server.kill()
    try:
        assert {await read() for _ in range(3)} == {"UNAVAILABLE"}
    finally:
        await server.start()
    async with asyncio.timeout(LONG_S):
        while await read() != "OK":  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.2)


async def test_a_bus_that_is_restored(place: Scene, tmp_path: Path, results: list[Result]) -> None:
    """The disk of NATS is lost, and an older copy of it put in its place. What dispatch had decided stands in the
    store: what is missing on the bus is published again, and what comes again from the copy is found to be done."""
    began = time.monotonic()
    (server,) = place.servers.nats
    store, copy = server.store, tmp_path / "copy"
    names = ("email", "push", "sms")
    await place.site.begin()
    with Book(tmp_path / "requests.jsonl") as book:
        await _send_and_dispatch(place, book, "delivered-before")
        for name in names:
            place.stack.kill(name, signal.SIGSTOP)
        try:
            await _send_and_dispatch(place, book, "in-the-copy")
            await server.kill()
            shutil.copytree(store, copy)
            await server.start()
            await _send_and_dispatch(place, book, "not-in-the-copy")
            await server.kill()
            shutil.rmtree(store)
            shutil.copytree(copy, store)
            await server.start()
        finally:
            for name in names:
                place.stack.kill(name, signal.SIGCONT)
    restored = time.monotonic()
    history = read(book.path)
    left = await place.site.quiet(history, SWEPT_LIMIT_S)
    verdict = check(history, await place.site.evidence(), Bounds(restarts=()))
    results.append(
        Result(
            fault="NATS restored from an older copy",
            seed=SEED,
            verdict=verdict,
            recover_s=restored - began,
            drain_s=time.monotonic() - restored,
            wrong=left,
        )
    )
    assert not verdict.problems, "\n".join(str(problem) for problem in verdict.problems[:20])
    assert not left
    assert verdict.accepted > 100


async def _send_and_dispatch(place: Scene, book: Book, name: str) -> None:
    """Returns when all is decided, and waits for its channel."""
    # What sockets were told is in the copy of a cache only.
    tasks = [
        task
        for task in plan(name, SEED, SENDS_RESTORED, place.site.people)
        if task.request.channel in ("email", "push", "sms")
    ]
    await place.site.load(book, random.Random(SEED)).run(tasks, RATE)
    async with bus.streams(place.stack.environment("operator")) as streams, asyncio.timeout(LONG_S):
        while await streams.unsettled("INTAKE_"):  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.2)
