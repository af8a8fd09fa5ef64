"""kill -9 of each process and server of ours in the middle of the load; the stack restarts it. Whatever was
accepted has to end once, and to have been seen where it went."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from stack.control import Stack
from tests.fault.checker import Bounds, check
from tests.fault.history import Book, read
from tests.fault.load import Load, plan
from tests.fault.site import Site, site
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(300)

PORT_BASE = 21000
SEED = 1
SENDS = 3_000
RATE = 240.0
RATE_LEAST = 200.0
PEOPLE = 40
RESTART_LIMIT_S = 60.0
QUIET_LIMIT_S = 150.0
# CROWN_IN_FLIGHT's default: what one crash of a channel can leave open.
IN_FLIGHT = 128

# Providers answer this late, so that a crash finds some deliveries between being sent and being recorded.
PROVIDER_DELAY_S = 0.2
# What the process waits for is stopped for a moment before it is killed, and goes on afterwards: so the crash
# finds work begun that is not stored, which is when an answer or an ack too early would be a loss.
STALL_S = 0.5
STALLED: Mapping[str, str] = {
    "ingest-api": "nats",
    "ingest-dispatch-critical": "mongod",
    "ingest-dispatch": "mongod",
    "ingest-record": "mongod",
}

# Nothing may be sent twice or end unclear, but for what was at the provider when the channel died. SMS asks
# Twilio what became of it, so that the bound is for what Twilio does not tell.
_BOUNDS: Mapping[str, Bounds] = {
    "email": Bounds(repeats={"email": IN_FLIGHT}),
    "push": Bounds(repeats={"push": IN_FLIGHT}),
    "sms": Bounds(ends={"UNKNOWN": IN_FLIGHT}),
    "sandbox": Bounds({"push": IN_FLIGHT, "sms": IN_FLIGHT}, {"UNKNOWN": IN_FLIGHT}),
    "mailbox": Bounds({"email": IN_FLIGHT}),
}

KILLED = (
    "ingest-api",
    "ingest-dispatch-critical",
    "ingest-dispatch",
    "ingest-record",
    "ingest-webhook",
    "email",
    "push",
    "sms",
    "realtime",
    "gateway",
    "nats",
    "mongod",
    "valkey",
    "sandbox",
    "mailbox",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    given = {"CROWN_SANDBOX_CALLBACKS": "off", "CROWN_SMS_PROVIDERS": "twilio"}
    with Stack(PORT_BASE, home=tmp_path_factory.mktemp("stack"), env=given) as running:
        yield running


@pytest.fixture(scope="module")
async def scene(stack: Stack) -> AsyncIterator[Site]:
    async with site(stack, PEOPLE) as found:
        yield found


@pytest.mark.parametrize("name", [*KILLED])
async def test_nothing_accepted_is_lost_when_it_is_killed(
    name: str, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    await scene.begin()
    await scene.slow_providers(PROVIDER_DELAY_S)
    tasks = plan(name, SEED, SENDS, scene.people)
    with Book(tmp_path / "requests.jsonl") as book:
        load = scene.load(book, random.Random(SEED))
        kill = asyncio.create_task(_kill_halfway(scene.stack, name, load))
        rate = await load.run(tasks, RATE)
        killed, restart_s = await kill
    history = read(book.path)
    left = await scene.quiet(history, QUIET_LIMIT_S)
    quiet_s = time.monotonic() - killed
    verdict = check(history, await scene.evidence(), _BOUNDS.get(name, Bounds()))
    results.append(Result(f"kill -9 {name}", verdict, rate, restart_s, quiet_s))
    assert not verdict.problems, "\n".join(str(problem) for problem in verdict.problems[:20])
    assert not left
    assert verdict.accepted + verdict.refused + verdict.unknown == SENDS
    assert rate >= RATE_LEAST


async def _kill_halfway(stack: Stack, name: str, load: Load) -> tuple[float, float]:
    """When it was killed, and the seconds until it was healthy again."""
    await load.halfway.wait()
    stalled = STALLED.get(name)
    if stalled is not None:
        stack.kill(stalled, signal.SIGSTOP)
        await asyncio.sleep(STALL_S)
    pid = stack.kill(name)
    killed = time.monotonic()
    if stalled is not None:
        stack.kill(stalled, signal.SIGCONT)
    await asyncio.to_thread(stack.wait_healthy, name, pid, RESTART_LIMIT_S)
    return killed, time.monotonic() - killed
