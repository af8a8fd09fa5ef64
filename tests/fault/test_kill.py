"""kill -9 of each process and server of ours in the middle of the load; the stack restarts it. Whatever was
accepted has to end once, and to have been seen where it went.

Several are killed in one run, one after the other, those together that allow nothing or nothing of the same channel:
so what a run may cost is still exact. With --one-by-one each has a run, and more load."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stack.control import Stack
from tests.fault.checker import Bounds
from tests.fault.run import Course, Spec, run
from tests.fault.site import Site, site
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(300)

PORT_BASE = 21000
SEED = 1
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
    ("ingest-api", "ingest-dispatch-critical", "ingest-dispatch"),
    ("ingest-record", "ingest-webhook", "realtime", "gateway"),
    ("nats", "mongod", "valkey"),
    ("email", "push", "sms"),
    ("sandbox", "mailbox"),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much load a run has: requests, and those that go out a second; at least so many of these must."""

    sends: int
    rate: float
    rate_least: float


# Beside another run on the same machine, and alone.
TOGETHER = Size(2_000, 160.0, 120.0)
ALONE = Size(3_000, 240.0, 200.0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "names" in metafunc.fixturenames:
        alone = metafunc.config.getoption("one_by_one")
        groups = [(name,) for name in itertools.chain(*KILLED)] if alone else KILLED
        metafunc.parametrize("names", groups, ids=[" ".join(names) for names in groups])


@pytest.fixture
def size(pytestconfig: pytest.Config) -> Size:
    return ALONE if pytestconfig.getoption("one_by_one") else TOGETHER


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    given = {"CROWN_SANDBOX_CALLBACKS": "off", "CROWN_SMS_PROVIDERS": "twilio"}
    with Stack(PORT_BASE, home=tmp_path_factory.mktemp("stack"), env=given) as running:
        yield running


@pytest.fixture(scope="module")
async def scene(stack: Stack) -> AsyncIterator[Site]:
    async with site(stack, PEOPLE) as found:
        yield found


async def test_nothing_accepted_is_lost_when_it_is_killed(
    names: Sequence[str], size: Size, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    await scene.begin()
    await scene.slow_providers(PROVIDER_DELAY_S)
    bounds = _together(_BOUNDS.get(name, Bounds()) for name in names)

    async def fault(course: Course) -> None:
        kills = [
            _kill(scene.stack, name, course, size.sends * number // (len(names) + 1))
            for number, name in enumerate(names, start=1)
        ]
        await asyncio.gather(*kills)

    spec = Spec(
        f"kill -9 {', '.join(names)}",
        size.sends,
        size.rate,
        SEED,
        replace(bounds, restarts=names, told=True),
        QUIET_LIMIT_S,
    )
    outcome = await run(scene, spec, fault, tmp_path, results)
    verdict = outcome.verdict
    assert verdict.accepted + verdict.refused + verdict.unknown == size.sends
    assert outcome.result.rate is not None
    assert outcome.result.rate >= size.rate_least


def _together(bounds: Iterable[Bounds]) -> Bounds:
    """What several kills may cost. No two of a run may have the same word in theirs."""
    repeats: dict[str, int] = {}
    ends: dict[str, int] = {}
    for one in bounds:
        assert not repeats.keys() & one.repeats.keys()
        assert not ends.keys() & one.ends.keys()
        repeats |= one.repeats
        ends |= one.ends
    return Bounds(repeats, ends)


async def _kill(stack: Stack, name: str, course: Course, after: int) -> None:
    """Kills it, and returns when it is healthy again."""
    await course.reached(after)
    stalled = STALLED.get(name)
    if stalled is not None:
        stack.kill(stalled, signal.SIGSTOP)
        await asyncio.sleep(STALL_S)
    course.broken()
    pid = stack.kill(name)
    if stalled is not None:
        stack.kill(stalled, signal.SIGCONT)
    await asyncio.to_thread(stack.wait_healthy, name, pid, RESTART_LIMIT_S)
    course.mended()
