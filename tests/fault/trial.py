"""A fault in the middle of the load, with servers that can be killed, stopped and cut off for as long as a test
wants: load, fault, heal, rest, and the checker's word. No process of ours may have been started again: they have to
find their way back by themselves."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stack.control import Stack
from stack.settings import ROOT
from tests.fault import lan as network
from tests.fault.checker import Bounds
from tests.fault.history import Answer, Attempt, Sent
from tests.fault.lan import Lan
from tests.fault.run import Course, Spec, run
from tests.fault.servers import Servers, servers
from tests.fault.site import Site, site
from tests.fault.suite import Suite
from tests.fault.table import Result

SEED = 1
PEOPLE = 40
RATE = 30.0
SLOW_RATE = 10.0
LONG_S = 30.0
# Load before the fault and after it, and the piece in which it comes until all is over.
LEAD_S = 4.0
TAIL_S = 2.0
ROUND_S = 4.0
# Of one process, through all faults of a file: each takes it as the one before has left it, so what leaks adds up.
DESCRIPTORS_MOST = 250
PREPARE_LIMIT_S = 120.0
QUIET_LIMIT_S = 150.0


@dataclass(frozen=True, slots=True)
class Found:
    """What clients were told, and when the fault began and ended, in seconds since 1970."""

    history: Sequence[Sent]
    began: float
    healed: float

    @property
    def accepted_again(self) -> float:
        """When a request that was sent after the fault was first accepted. Raises ValueError where none was."""
        return min(
            one.ended
            for sent in self.history
            for one in sent.attempts
            if one.answer is Answer.ACCEPTED and one.began >= self.healed
        )

    def attempts(self, after_s: float = 0.0) -> list[Attempt]:
        """Those that clients began while the fault lasted, `after_s` seconds into it and later."""
        return [
            attempt
            for sent in self.history
            for attempt in sent.attempts
            if self.began + after_s <= attempt.began < self.healed
        ]


def nothing(found: Found) -> None:
    """Nothing more than what holds for every fault."""


def goes_on(found: Found) -> None:
    """Accepting feels nothing of it."""
    attempts = found.attempts()
    refused = [one for one in attempts if one.answer is not Answer.ACCEPTED and "INVALID" not in one.detail]
    assert attempts
    assert not refused, refused[:5]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens, how long that takes, and what has to be true besides what always has. With `told` the suite has
    to say meanwhile that something is away."""

    act: Callable[[Scene], Awaitable[None]]
    hold_s: float
    check: Callable[[Found], None] = nothing
    told: bool = False

    @property
    def rate(self) -> float:
        """Requests a second; few where it is long, since everybody who was told no asks again, and again."""
        return SLOW_RATE if self.hold_s >= LONG_S else RATE


@dataclass(frozen=True, slots=True)
class Scene:
    """A suite, its servers, and where figures go."""

    site: Site
    servers: Servers
    stack: Stack

    async def run(self, name: str, fault: Fault, folder: Path, results: list[Result]) -> Found:
        """Load while `fault` begins, lasts and ends; then rest. Fails where a promise was broken, where work is left,
        or where a process of ours did not live through it."""
        began = healed = 0.0

        async def act(course: Course) -> None:
            nonlocal began, healed
            await course.reached(int(fault.rate * LEAD_S))
            course.broken()
            began = time.time()
            await fault.act(self)
            course.mended()
            healed = time.time()
            await asyncio.sleep(TAIL_S)

        spec = Spec(
            name,
            int(fault.rate * ROUND_S),
            fault.rate,
            SEED,
            Bounds(restarts=(), descriptors=DESCRIPTORS_MOST, told=fault.told),
            QUIET_LIMIT_S,
            until_over=True,
        )
        outcome = await run(self.site, spec, act, folder, results)
        found = Found(outcome.history, began, healed)
        results[-1] = replace(outcome.result, recover_s=found.accepted_again - began)
        fault.check(found)
        return found


@asynccontextmanager
async def scene(
    home: Path, port_base: int, nats_count: int = 1, mongod_count: int = 1, **given: str
) -> AsyncIterator[Scene]:
    """A suite on servers of a network of its own. Fails where this machine can make none: a test that is skipped
    shows nothing."""
    lack = network.missing()
    if lack:
        pytest.fail(f"these tests need {lack}", pytrace=False)
    with Lan() as lan:
        async with servers(lan, home, nats_count, mongod_count) as found:
            stack = Suite(port_base, given={**found.environment, **given}).stack(home / "stack")
            await _prepare(stack)
            await asyncio.to_thread(stack.up)
            try:
                async with site(stack, PEOPLE) as made:
                    yield Scene(made, found, stack)
            finally:
                await asyncio.to_thread(stack.down)


async def _prepare(stack: Stack) -> None:
    """Makes streams and indexes, as a deployment does before it starts the services: a cluster takes its time."""
    log, environment = stack.layout.log("prepare"), {**os.environ, **stack.environment("ingest-api")}
    command = (sys.executable, "-m", "services.ingest", "prepare")
    async with asyncio.timeout(PREPARE_LIMIT_S):
        status = 1
        while status:
            with log.open("ab") as file:
                made = await asyncio.create_subprocess_exec(
                    *command, cwd=ROOT, env=environment, stdout=file, stderr=file
                )
                status = await made.wait()
