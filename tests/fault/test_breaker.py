"""A provider is out for three workers at once: each finds out by itself, sends one message now and then to see
whether it is back, and what has waited goes out in steps when it is."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from tests.fault.checker import Bounds
from tests.fault.run import Course, Spec, run
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(240)

SEED = 1
SENDS = 900
RATE = 60.0
WORKERS = 3
QUIET_LIMIT_S = 120.0
OUTAGE_S = 20.0
# The first probe comes after 5 s, give or take a quarter, and the next ones later each time.
FIRST_PROBE_S = 3.5
PROBES_MOST = 3
# A call that was under way when its worker had seen enough.
LATE_S = 2.0
# Of what has waited, the most that may go out within a second of the return.
RELEASED_MOST = 0.5


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(28_600, people=40, given={"CROWN_STACK_SCALE": f"sms={WORKERS}"})


async def test_who_is_out_is_asked_now_and_then_by_each_of_three(
    scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    async def fault(course: Course) -> None:
        await course.reached(SENDS // 4)
        course.broken()
        await scene.script("twilio", {"status": 503, "effect": False})
        await asyncio.sleep(OUTAGE_S)
        await scene.heal("twilio")
        course.mended()

    bounds = Bounds(restarts=(), calls={"sms": 1.5}, unfelt=("email", "push"))
    spec = Spec(f"Twilio answers 503 to {WORKERS} workers", SENDS, RATE, SEED, bounds, QUIET_LIMIT_S)
    await scene.begin()
    outcome = await run(scene, spec, fault, tmp_path, results)
    fault_span = outcome.fault
    assert fault_span is not None
    refused = sorted(await scene.refusals("twilio"))
    # Each has learned that it is out by its first failures, which come within a moment of each other.
    learned = next(at for at, later in itertools.pairwise(refused) if later - at >= FIRST_PROBE_S / 2)
    probes = [at for at in refused if at > learned + LATE_S]
    assert len(probes) <= WORKERS * PROBES_MOST, [round(at - fault_span.begin, 1) for at in probes]
    assert min(probes) - fault_span.begin >= FIRST_PROBE_S
    sent = [one.time for one in outcome.evidence.effects if one.source == "twilio"]
    waited = [at for at in sent if at > fault_span.end]
    assert waited
    back = min(waited)
    at_once = sum(at < back + 1 for at in waited)
    assert at_once <= max(WORKERS * 64, RELEASED_MOST * len(waited))
