"""The faults that happen most, in three runs against one suite: what `make fault-quick` has time for. One process and
server after the other is killed or stopped; providers are out; and processes are replaced. Each of them alone, and
all others: `make fault`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stack.control import Stack
from tests.fault.checker import Bounds
from tests.fault.history import Answer
from tests.fault.run import Course, Spec, run
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(200)

SEED = 1
RATE = 80.0
# Load before the first fault and between two.
ROUND = 160
HEALTHY_LIMIT_S = 60.0
QUIET_LIMIT_S = 90.0
IN_FLIGHT = 128
PROVIDER_DELAY_S = 0.1
STALL_S = 0.5
STOP_S = 4.0
OUTAGE_S = 6.0
# As the gateway has it: so long it leaves alone what it could not reach.
EJECTED_S = 6.0
TIMEOUT_S = 2.0
CALLS_MOST = 1.5
UNFELT_MOST = 1.02

# In the order in which they come: what a dead text worker had taken comes again after 30 s, so it goes first.
KILLED = ("sms", "ingest-api", "mongod", "nats")
STOPPED = ("nats", "valkey")
# What is gone while each of these dies, so that it has work that is not stored.
STALLED = {"ingest-api": "nats"}
OUTAGES: Mapping[str, Mapping[str, Any]] = {
    "twilio": {"hang": True},
    "fcm": {"status": 429, "headers": {"Retry-After": "2"}},
    "sendgrid": {"reset": "before"},
}
REPLACED = (("ingest-api", "ingest-dispatch", "realtime"), ("ingest-api-2", "ingest-record", "push"))


@pytest.fixture(scope="module")
def suite() -> Suite:
    given = {
        # So that one can be replaced and no request fails.
        "CROWN_STACK_SCALE": "ingest-api=2",
        "CROWN_PROVIDER_TIMEOUT_S": f"{TIMEOUT_S:g}",
        "CROWN_EMAIL_PROVIDERS": "sendgrid",
    }
    return Suite(29_000, people=30, given=given)


async def test_processes_and_servers_die_and_hang(scene: Site, tmp_path: Path, results: list[Result]) -> None:
    stack = scene.stack
    await scene.begin()
    await scene.slow_providers(PROVIDER_DELAY_S)

    async def fault(course: Course) -> None:
        await course.reached(ROUND)
        for name in KILLED:
            await _kill(stack, name, course)
            await asyncio.sleep(1)
        for name in STOPPED:
            stack.kill(name, signal.SIGSTOP)
            await asyncio.sleep(STOP_S)
            stack.kill(name, signal.SIGCONT)
            await asyncio.to_thread(stack.wait_healthy, name, None, HEALTHY_LIMIT_S)
            course.mended()

    spec = Spec(
        "one after the other: kill -9 " + ", ".join(KILLED) + "; SIGSTOP " + ", ".join(STOPPED),
        ROUND,
        RATE,
        SEED,
        # Of what was at Twilio when the worker died Twilio says what became of it.
        Bounds(ends={"UNKNOWN": IN_FLIGHT}, restarts=KILLED, told=True),
        QUIET_LIMIT_S,
        until_over=True,
    )
    outcome = await run(scene, spec, fault, tmp_path, results)
    assert outcome.verdict.accepted >= 0.8 * outcome.verdict.asked


async def test_providers_are_out_and_waited_for(scene: Site, tmp_path: Path, results: list[Result]) -> None:
    async def fault(course: Course) -> None:
        await course.reached(ROUND // 2)
        course.broken()
        for provider, answer in OUTAGES.items():
            await scene.script(provider, answer)
        await asyncio.sleep(OUTAGE_S)
        for provider in OUTAGES:
            await scene.heal(provider)
        course.mended()

    calls = dict.fromkeys(("sms", "push", "email"), CALLS_MOST)
    spec = Spec(
        "Twilio hangs, FCM answers 429, SendGrid resets",
        ROUND,
        RATE,
        SEED,
        Bounds(restarts=(), calls=calls),
        QUIET_LIMIT_S,
        until_over=True,
    )
    await run(scene, spec, fault, tmp_path, results)


async def test_all_are_replaced_and_no_request_fails(
    scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    async def fault(course: Course) -> None:
        await course.reached(ROUND // 2)
        course.broken()
        for number, names in enumerate(REPLACED):
            if number:
                await asyncio.sleep(EJECTED_S)
            await asyncio.gather(*(_replace(scene.stack, name) for name in names))
        course.mended()

    spec = Spec(
        "SIGTERM to each of " + ", ".join(name for names in REPLACED for name in names),
        ROUND,
        RATE,
        SEED,
        Bounds(restarts=[name for names in REPLACED for name in names]),
        QUIET_LIMIT_S,
        until_over=True,
        patient=True,
    )
    outcome = await run(scene, spec, fault, tmp_path, results)
    failed = [
        sent.attempts[-1].detail
        for sent in outcome.history
        if sent.answer is not Answer.ACCEPTED and not sent.attempts[-1].detail.startswith("INVALID_ARGUMENT")
    ]
    assert failed == []
    assert outcome.verdict.repeats == {}


async def _kill(stack: Stack, name: str, course: Course) -> None:
    stalled = STALLED.get(name)
    if stalled is not None:
        stack.kill(stalled, signal.SIGSTOP)
        await asyncio.sleep(STALL_S)
    course.broken()
    pid = stack.kill(name)
    if stalled is not None:
        stack.kill(stalled, signal.SIGCONT)
    await asyncio.to_thread(stack.wait_healthy, name, pid, HEALTHY_LIMIT_S)
    course.mended()


async def _replace(stack: Stack, name: str) -> None:
    pid = stack.kill(name, signal.SIGTERM)
    one = await asyncio.to_thread(stack.wait_healthy, name, pid, HEALTHY_LIMIT_S)
    assert one.last_exit == "exit status 0"
