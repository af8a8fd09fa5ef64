"""Old and new code work on the same streams while sends go on: half of the processes are rolled forward, all are
rolled back, and all are rolled forward. What only newer code may work on waits for it, and nothing is lost or sent
twice. The newer code is the same with tests/fault/newer/sitecustomize.py in it."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stack.control import Stack
from tests.fault.newer.sitecustomize import is_new
from tests.fault.run import Course, Spec, run
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(400)

SEED = 1
SENDS = 1_500
RATE = 40.0
LIMIT_S = 90.0
QUIET_LIMIT_S = 150.0
FIRST = ("ingest-api", "ingest-dispatch", "email")
OTHERS = ("ingest-dispatch-critical", "ingest-dispatch-2", "ingest-record", "email-2", "push", "sms")


@dataclass(frozen=True)
class Fleet:
    """The processes of a stack, each of which is the older or the newer version of itself."""

    stack: Stack
    flags: Path

    async def roll(self, names: tuple[str, ...], *, newer: bool) -> None:
        """Has them stop as a supervisor stops them, and come back as that version, one beside the other."""
        for name in names:
            flag = self.flags / str(self.stack.settings.ports.grpc(name))
            flag.touch() if newer else flag.unlink(missing_ok=True)
        pids = {name: self.stack.kill(name, signal.SIGTERM) for name in names}
        waits = [asyncio.to_thread(self.stack.wait_healthy, name, pid, LIMIT_S) for name, pid in pids.items()]
        await asyncio.gather(*waits)

    async def parked(self, name: str, http: aiohttp.ClientSession) -> float:
        """How often the process has parked something since its start."""
        address = f"http://127.0.0.1:{self.stack.settings.ports.metrics(name)}/metrics"
        async with http.get(address) as answer:
            text = await answer.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "crown_parked_total"
        )

    async def all_park(self, names: tuple[str, ...]) -> None:
        """Returns when each of them has parked something."""
        until = time.monotonic() + LIMIT_S
        async with aiohttp.ClientSession() as http:
            while idle := [name for name in names if not await self.parked(name, http)]:
                assert time.monotonic() < until, f"parked nothing: {idle}"
                await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a file says that the process with this port is the newer version."""
    return tmp_path_factory.mktemp("newer")


@pytest.fixture(scope="module")
def suite(flags: Path) -> Suite:
    given = {
        "CROWN_STACK_SCALE": "ingest-dispatch=2,email=2",
        "PYTHONPATH": str(Path(__file__).parent / "newer"),
        "PYTHON_NEWER": str(flags),
    }
    return Suite(12_600, people=30, given=given)


@pytest.fixture(scope="module")
def fleet(stack: Stack, flags: Path) -> Fleet:
    return Fleet(stack, flags)


async def _upgrade(fleet: Fleet, course: Course) -> None:
    """Forward by half, back, and forward."""
    await asyncio.sleep(2)
    course.broken()
    await fleet.roll(FIRST, newer=True)
    # The older ones are given what the newer ones write.
    await fleet.all_park(("ingest-dispatch-2", "email-2", "ingest-record"))
    await fleet.roll(FIRST, newer=False)
    # Nobody is left now who understands it, and what the others understand goes on.
    await fleet.all_park(("ingest-dispatch-2", "email"))
    await fleet.roll((*OTHERS, *FIRST), newer=True)
    course.mended()


async def test_nothing_is_lost_or_sent_twice_when_old_and_new_work_together(
    fleet: Fleet, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    spec = Spec("upgrade, back, upgrade", SENDS, RATE, SEED, quiet_limit_s=QUIET_LIMIT_S)

    async def fault(course: Course) -> None:
        await _upgrade(fleet, course)

    outcome = await run(scene, spec, fault, tmp_path, results)
    assert any(is_new(sent.request.notification_id) for sent in outcome.history)
