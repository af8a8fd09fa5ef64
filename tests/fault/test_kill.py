"""kill -9 of each process and server of ours in the middle of the load, once, again and again, and by chance; the
stack restarts it. Whatever was accepted has to end once, and to have been seen where it went. Beside it a run in
which nothing breaks."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from stack.control import Stack
from stack.errors import StackError
from tests.fault.checker import Bounds
from tests.fault.history import Answer
from tests.fault.run import Course, Spec, nothing, run, schedule
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(300)

SEED = 1
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

SERVICES = (
    "ingest-api",
    "ingest-dispatch-critical",
    "ingest-dispatch",
    "ingest-record",
    "ingest-webhook",
    "realtime",
    "email",
    "push",
    "sms",
)
KILLED = (*SERVICES, "gateway", "nats", "mongod", "valkey", "sandbox", "mailbox")
SENDS = 1_200
RATE = 150.0
# Of the rate, what at least must really go out.
RATE_PART = 0.8
# How often those are killed that are killed again and again, and how long after they were healthy again.
AGAIN = {"ingest-api": 10, "email": 5, "push": 5, "sms": 5}
AGAIN_S = (3.0, 7.0)
# Any of our processes every two seconds.
CHANCE_KILLS = 30
CHANCE_S = (2.0, 2.0)
# Where it takes long, requests come in rounds.
ROUND, ROUND_RATE = 300, 75.0


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(21_000, people=40)


async def test_where_nothing_breaks(scene: Site, tmp_path: Path, results: list[Result]) -> None:
    bounds = Bounds(restarts=(), calls=dict.fromkeys(("email", "push", "sms"), 1.0))
    outcome = await run(scene, Spec("none", SENDS, RATE, SEED, bounds), nothing, tmp_path, results)
    assert outcome.verdict.repeats == {}
    assert outcome.verdict.unknown == outcome.verdict.retried == 0


@pytest.mark.parametrize("name", KILLED)
async def test_nothing_accepted_is_lost_when_it_is_killed(
    name: str, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    await scene.begin()
    await scene.slow_providers(PROVIDER_DELAY_S)

    async def fault(course: Course) -> None:
        await course.reached(SENDS // 3)
        await _kill(scene.stack, name, course)

    bounds = replace(_BOUNDS.get(name, Bounds()), restarts=(name,), told=True)
    outcome = await run(
        scene, Spec(f"kill -9 {name}", SENDS, RATE, SEED, bounds, QUIET_LIMIT_S), fault, tmp_path, results
    )
    verdict = outcome.verdict
    assert verdict.accepted + verdict.refused + verdict.unknown == SENDS
    assert outcome.result.rate is not None
    assert outcome.result.rate >= RATE * RATE_PART


@pytest.mark.parametrize("name", AGAIN)
async def test_nothing_is_lost_when_it_is_killed_again_and_again(
    name: str, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    blows = schedule(SEED, (name,), AGAIN[name], AGAIN_S)

    async def fault(course: Course) -> None:
        await course.reached(ROUND // 2)
        for blow in blows:
            await _kill(scene.stack, name, course)
            await asyncio.sleep(blow.after_s)

    spec = Spec(
        f"kill -9 {name}, {len(blows)} times",
        ROUND,
        ROUND_RATE,
        SEED,
        replace(_times(name, len(blows)), restarts=(name,), told=True),
        QUIET_LIMIT_S,
        until_over=True,
        patient=True,
        blows=blows,
    )
    await scene.begin()
    await scene.slow_providers(PROVIDER_DELAY_S)
    outcome = await run(scene, spec, fault, tmp_path, results)
    # Each asked again with its key until it was answered; of what is invalid the answer is a no, whatever became of
    # the attempts before.
    unsure = [sent for sent in outcome.history if sent.answer is Answer.UNKNOWN]
    assert [one for one in unsure if not one.attempts[-1].detail.startswith("INVALID_ARGUMENT")] == []


async def test_nothing_is_lost_when_any_is_killed_at_any_time(
    scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    blows = schedule(SEED, SERVICES, CHANCE_KILLS, CHANCE_S)

    async def fault(course: Course) -> None:
        await course.reached(ROUND // 2)
        course.broken()
        for blow in blows:
            # It may still be on its way up.
            with contextlib.suppress(StackError, ProcessLookupError):
                scene.stack.kill(blow.name)
            await asyncio.sleep(blow.after_s)
        for name in SERVICES:
            await asyncio.to_thread(scene.stack.wait_healthy, name, None, RESTART_LIMIT_S)
        course.mended()

    counts = Counter(blow.name for blow in blows)
    several = [_times(name, count) for name, count in counts.items()]
    bounds = Bounds(
        {channel: most for one in several for channel, most in one.repeats.items()},
        {state: most for one in several for state, most in one.ends.items()},
        restarts=SERVICES,
        told=True,
    )
    spec = Spec(
        f"kill -9 any of {len(SERVICES)} every {CHANCE_S[0]:g} s, {len(blows)} times",
        ROUND,
        ROUND_RATE,
        SEED,
        bounds,
        QUIET_LIMIT_S,
        until_over=True,
        blows=blows,
    )
    await run(scene, spec, fault, tmp_path, results)


def _times(name: str, count: int) -> Bounds:
    """What so many kills of it may cost."""
    one = _BOUNDS.get(name, Bounds())
    return Bounds(
        {channel: most * count for channel, most in one.repeats.items()},
        {state: most * count for state, most in one.ends.items()},
    )


async def _kill(stack: Stack, name: str, course: Course) -> None:
    """Kills it, and returns when it is healthy again."""
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
