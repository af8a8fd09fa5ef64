"""Two of each role behind one gateway. They share the work, and one may be killed in the middle of it; all are
replaced one after the other, as an upgrade does, and no request fails; one that cannot start any more is told of and
harms nobody else. Nothing is lost and nothing is done twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from crown.delivery import LEASE_S
from stack import restarts, secrets, services
from stack.control import Stack
from stack.layout import write_private
from tests.fault.checker import Bounds
from tests.fault.history import Answer
from tests.fault.run import Course, Fault, Outcome, Spec, run
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(300)

SEED = 7
RATE = 100.0
# Requests after which the load looks whether it may end.
ROUND = 200
RESTART_LIMIT_S = 60.0
QUIET_LIMIT_S = 150.0
# Each of the two does at least this part of the work until one is killed.
LEAST_SHARE = 0.1
# What counts the work of a role.
SERIES = {"ingest-api": "crown_accepted_total", "ingest-dispatch": "crown_dispatched_total"}
ROLES = tuple(role.name for role in services.ROLES)
# What a close of ours says to a socket that is to connect again, see services/realtime/closecodes.py.
RESTART = 1012
# So long the gateway sends nothing to a process that it could not reach (base_ejection_time), and a little more.
EJECTED_S = 6.0
# The part of requests that may meet a process in the moment that it goes, and be told to ask again.
ASKED_AGAIN_MOST = 0.01
# What is replaced at once: one of each role, a few roles at a time.
AT_ONCE = 3
# CROWN_GRACE_S's default, and what a machine that is busy adds.
DRAIN_MOST_S = 15.0
# How long processes sleep: less than anybody waits, more than a claim is respected, more than a message waits for
# its ack.
STOPPED_S = (3.0, 15.0, 45.0)
SECONDS = tuple(f"{name}-2" for name in ROLES)
WAKING_S = 3.0
# So late providers answer what they have done at once: some of it lies with them when a worker falls asleep.
PROVIDER_DELAY_S = 0.2
# What a worker may have at its provider in one moment.
UNDER_WAY = 16
# What a worker that was stopped may still write when it wakes: the one call that it was about to hand to the kernel,
# having looked at its lease. There is no step in between at which it could look.
TOO_LATE_MOST = 1
# Crashes in a row after which a process is said to need somebody, and a little more.
CRASHES = restarts.LOOPING + 1


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(27_000, people=40, given={"CROWN_STACK_SCALE": ",".join(f"{name}=2" for name in ROLES)})


async def test_two_share_the_work_and_one_may_die(scene: Site, tmp_path: Path, results: list[Result]) -> None:
    stack = scene.stack
    before = {name: await _done(stack, name) for role in SERIES for name in (role, f"{role}-2")}

    # What each of the killed had done.
    done: dict[str, float] = {}

    async def kill(course: Course) -> None:
        await course.reached(2 * ROUND)
        done.update({f"{role}-2": await _done(stack, f"{role}-2") for role in SERIES})
        course.broken()
        pids = {name: stack.kill(name) for name in done}
        for name, pid in pids.items():
            await asyncio.to_thread(stack.wait_healthy, name, pid, RESTART_LIMIT_S)
        course.mended()

    names = [f"{role}-2" for role in SERIES]
    outcome = await under_load(
        scene, f"kill -9 {', '.join(names)}", kill, tmp_path, results, Bounds(restarts=names, told=True)
    )
    for role in SERIES:
        first = await _done(stack, role) - before[role]
        assert first >= len(outcome.history) * LEAST_SHARE
        # It was killed when at least one round was done, of the two that had gone out.
        assert done[f"{role}-2"] - before[f"{role}-2"] >= ROUND * LEAST_SHARE


async def test_all_are_replaced_and_no_request_fails(
    scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    for listener in scene.listeners:
        listener.codes.clear()

    # The seconds that each took from SIGTERM to its end.
    took_s: list[float] = []

    async def roll(course: Course) -> None:
        await course.reached(ROUND + 1)
        course.broken()
        for number in ("", "-2"):
            for start in range(0, len(ROLES), AT_ONCE):
                names = [f"{role}{number}" for role in ROLES[start : start + AT_ONCE]]
                took_s.extend(await asyncio.gather(*(_replace(scene.stack, name) for name in names)))
            # As `minReadySeconds` has it: the gateway leaves alone what was away.
            await asyncio.sleep(EJECTED_S)
        course.mended()

    outcome = await under_load(scene, f"SIGTERM to each of {2 * len(ROLES)}", roll, tmp_path, results)
    history, verdict = outcome.history, outcome.verdict
    assert max(took_s) <= DRAIN_MOST_S
    # An attempt may meet a process that is going, and is told so; asked again with the same key, each was accepted.
    failed = [
        sent.attempts[-1].detail
        for sent in history
        if sent.answer is not Answer.ACCEPTED and not sent.attempts[-1].detail.startswith("INVALID_ARGUMENT")
    ]
    assert failed == []
    assert verdict.retried <= len(history) * ASKED_AGAIN_MOST
    assert verdict.repeats == {}
    # Everybody was sent away by the node that they were on, told to come back, and did.
    assert {code for listener in scene.listeners for code in listener.codes} == {RESTART}
    assert all(listener.codes for listener in scene.listeners)
    assert all(listener.joined.is_set() for listener in scene.listeners)


@pytest.mark.parametrize("stopped_s", STOPPED_S)
async def test_who_was_stopped_does_not_send_what_others_took_over(
    stopped_s: float, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    """One of each role sleeps, as on a machine that hangs, with work in its hands; the other one goes on."""
    stack = scene.stack
    woke = 0.0
    await scene.begin()
    await scene.slow_providers(PROVIDER_DELAY_S)

    async def sleep(course: Course) -> None:
        nonlocal woke
        await course.reached(ROUND + 1)
        course.broken()
        pids = [stack.kill(name, signal.SIGSTOP) for name in SECONDS]
        await asyncio.sleep(stopped_s)
        woke = time.time()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        # Who slept for too long ends itself.
        await asyncio.sleep(WAKING_S)
        for name in SECONDS:
            await asyncio.to_thread(stack.wait_healthy, name, None, RESTART_LIMIT_S)
        course.mended()

    # What was at a provider when its worker fell asleep may be sent once more by the other one, once the lease is
    # over, and nothing else.
    most = UNDER_WAY if stopped_s > LEASE_S else 0
    bounds = Bounds(repeats=dict.fromkeys(("email", "push"), most), ends={"UNKNOWN": most}, restarts=SECONDS)
    fault = f"SIGSTOP to one of each role, {stopped_s:g} s"
    outcome = await under_load(scene, fault, sleep, tmp_path, results, bounds)
    times: dict[tuple[str, str], list[float]] = {}
    for effect in outcome.evidence.effects:
        times.setdefault((effect.source, effect.delivery_id), []).append(effect.time)
    late = Counter(source for (source, _), found in times.items() if min(found) < woke < max(found))
    assert max(late.values(), default=0) <= (TOO_LATE_MOST if stopped_s > LEASE_S else 0), late


async def test_one_that_cannot_start_is_told_of_and_harms_nobody_else(
    scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    """Its address of the store is wrong from its next start on, as after a slip in a change of secrets."""
    stack = scene.stack
    name = "sms"
    path = Path(stack.environment(name)["DATABASE_URL_FILE"])
    right = secrets.read(path)
    others = {one.name: one.restarts for one in stack.status() if not one.name.startswith(name)}
    before = stack.of(name).restarts

    async def crash(course: Course) -> None:
        await course.reached(ROUND + 1)
        course.broken()
        write_private(path, "hunter2")
        pid = stack.kill(name)
        began = time.monotonic()
        await asyncio.to_thread(
            stack.wait, name, lambda one: one.restarts - before >= CRASHES, RESTART_LIMIT_S
        )
        elapsed = time.monotonic() - began
        # Each start waited for longer than the one before.
        assert elapsed >= sum(restarts.delay_s(crash) for crash in range(1, CRASHES))
        assert await _not_ready(stack) == f"not ready: {name}"
        write_private(path, right)
        await asyncio.to_thread(stack.wait_healthy, name, pid, RESTART_LIMIT_S)
        course.mended()

    bounds = Bounds(restarts=(name,), told=True)
    try:
        await under_load(scene, f"{name} cannot start", crash, tmp_path, results, bounds)
    finally:
        write_private(path, right)
    now = {one.name: one.restarts for one in stack.status() if one.name in others}
    assert now == others
    told = "\n".join(stack.log_tail("supervisor", 50))
    assert re.search(rf"{name}: ended {restarts.LOOPING} times in a row, .*exit status 2", told)
    words = "\n".join(stack.log_tail(name, 2_000))
    assert "DATABASE_URL: must be mongodb://" in words
    assert "hunter2" not in words + told


async def under_load(
    scene: Site,
    fault: str,
    work: Fault,
    folder: Path,
    results: list[Result],
    bounds: Bounds | None = None,
) -> Outcome:
    """Runs `work` under load, and the load until it is done."""
    spec = Spec(fault, ROUND, RATE, SEED, bounds or Bounds(), QUIET_LIMIT_S, until_over=True, patient=True)
    return await run(scene, spec, work, folder, results)


async def _replace(stack: Stack, name: str) -> float:
    """Ends it as an upgrade does, and returns when the next one is healthy: seconds from SIGTERM to its end."""
    began = time.monotonic()
    pid = stack.kill(name, signal.SIGTERM)
    await asyncio.to_thread(stack.wait, name, lambda one: one.pid != pid, RESTART_LIMIT_S)
    ended = time.monotonic()
    one = await asyncio.to_thread(stack.wait_healthy, name, pid, RESTART_LIMIT_S)
    assert one.last_exit == "exit status 0"
    return ended - began


async def _not_ready(stack: Stack) -> str:
    """What /readyz complains of."""
    async with aiohttp.ClientSession() as http, http.get(f"{stack.settings.gateway_url}/readyz") as answer:
        assert answer.status == 503
        found: str = (await answer.json())["message"]
        return found


async def _done(stack: Stack, name: str) -> float:
    """How much work the process counts since its start."""
    series = SERIES[name.removesuffix("-2")]
    address = f"http://127.0.0.1:{stack.settings.ports.metrics(name)}/metrics"
    async with aiohttp.ClientSession() as http, http.get(address) as answer:
        page = await answer.text()
    return sum(map(float, re.findall(rf"^{series}(?:\{{[^}}]*\}})? (\S+)$", page, re.M)))
