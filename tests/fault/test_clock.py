"""Processes whose clocks are hours off, run too fast, or jump back in the middle of the load: nothing ends early,
nothing comes twice, and nothing is lost. The clocks are those of tests/fault/skewed; the servers' are right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.control import Stack
from tests.fault.checker import Bounds
from tests.fault.run import Course, Fault, Spec, run
from tests.fault.site import Site, site
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(240)

PORT_BASE = 29_400
SEED = 1
SENDS = 450
RATE = 75.0
PEOPLE = 30
QUIET_LIMIT_S = 90.0
MINUTE_S = 60.0
HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S
# Not the API, whose callers' tokens would rightly be too old or too new, nor push, which signs such a token for
# Google.
SKEWED = ("ingest-dispatch-critical", "ingest-dispatch", "ingest-record", "email", "sms")
# What the door allows between its clock and its callers'.
LEEWAY_S = 45.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a stack's processes."""

    stack: Stack
    folder: Path

    def set(self, ahead_s: float, drift: float = 0.0, names: tuple[str, ...] = SKEWED) -> None:
        """From now on they are so far ahead, and gain so much in each second."""
        for name in names:
            path = self.folder / str(self.stack.settings.ports.grpc(name))
            other = path.with_suffix(".new")
            other.write_text(f"{ahead_s} {drift}")
            other.rename(path)


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clocks]:
    folder = tmp_path_factory.mktemp("clocks")
    given = {
        "CROWN_SANDBOX_CALLBACKS": "off",
        "CROWN_SMS_PROVIDERS": "twilio",
        "CROWN_EMAIL_PROVIDERS": "sendgrid",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent / "skewed"))
        patch.setenv("PYTHON_CLOCKS", str(folder))
        with Stack(PORT_BASE, home=tmp_path_factory.mktemp("stack"), env=given) as running:
            yield Clocks(running, folder)


@pytest.fixture(scope="module")
async def scene(clocks: Clocks) -> AsyncIterator[Site]:
    async with site(clocks.stack, PEOPLE) as found:
        yield found


@pytest.mark.parametrize(
    ("title", "ahead_s", "drift"),
    [
        ("3 h ahead", 3 * HOUR_S, 0.0),
        ("3 h behind", -3 * HOUR_S, 0.0),
        ("a day ahead", DAY_S, 0.0),
        ("a day behind", -DAY_S, 0.0),
        ("1 % too fast", 0.0, 0.01),
    ],
)
async def test_a_wrong_clock_ends_nothing_early_and_sends_nothing_twice(
    title: str,
    ahead_s: float,
    drift: float,
    clocks: Clocks,
    scene: Site,
    tmp_path: Path,
    results: list[Result],
) -> None:
    async def fault(course: Course) -> None:
        await course.reached(SENDS // 3)
        course.broken()
        clocks.set(ahead_s, drift)
        await course.reached(SENDS)
        # It stays so until all has ended.
        course.mended()

    try:
        await _judged(f"clocks {title}", scene, fault, tmp_path, results)
        # They were really wrong.
        first, last = await scene.times()
        wrong = last if ahead_s > 0 else first
        assert abs(wrong - time.time() - ahead_s) < MINUTE_S
    finally:
        clocks.set(0.0)


async def test_a_clock_that_jumps_back_and_forth(
    clocks: Clocks, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    async def fault(course: Course) -> None:
        await course.reached(SENDS // 4)
        course.broken()
        for ahead_s in (HOUR_S, -HOUR_S, 60.0, 0.0):
            clocks.set(ahead_s)
            await asyncio.sleep(1)
        course.mended()

    await _judged("clocks jump back and forth", scene, fault, tmp_path, results)


async def test_a_door_that_is_a_little_off_lets_its_callers_in(
    clocks: Clocks, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    async def fault(course: Course) -> None:
        await course.reached(SENDS // 4)
        course.broken()
        for ahead_s in (LEEWAY_S, -LEEWAY_S):
            clocks.set(ahead_s, names=("ingest-api",))
            await asyncio.sleep(2)
        clocks.set(0.0, names=("ingest-api",))
        course.mended()

    title = f"the door's clock {LEEWAY_S:g} s ahead, then behind"
    await _judged(title, scene, fault, tmp_path, results)


async def _judged(title: str, scene: Site, fault: Fault, folder: Path, results: list[Result]) -> None:
    # What is stored bears the wrong time: so all there is counts.
    await scene.begin(empty=True)
    spec = Spec(title, SENDS, RATE, SEED, Bounds(restarts=()), QUIET_LIMIT_S)
    outcome = await run(scene, spec, fault, folder, results)
    assert outcome.verdict.accepted >= 0.9 * SENDS
    assert outcome.verdict.repeats == {}
