"""The power goes while notifications are being accepted. Every one that was answered with yes is in the intake
of the server that starts on what the disk had."""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fault.history import Book
from tests.fault.load import plan
from tests.fault.people import crowd
from tests.fault.power.disk import Disk
from tests.fault.power.rig import Rig, accepted
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(90)

DISK_MB = 1_024
RATE = 400.0
SENDS = 4_000
SENDS_AFTER = 20
PEOPLE = crowd(40)
CUT_AFTER_S = (2.0, 5.0)
# Anything below would say little about a run of some seconds.
ACCEPTED_LEAST = 200


@dataclass(frozen=True, slots=True)
class Loss:
    """The ids that clients were told are accepted, those that were there after the power came back, and those
    that were accepted after that."""

    accepted: set[str]
    found: set[str]
    accepted_after: set[str]

    def row(self, fault: str, seed: int) -> Result:
        """As a row of the table."""
        lost = len(self.accepted - self.found)
        return Result(fault=fault, seed=seed, rate=RATE, accepted=len(self.accepted), lost=lost)

    def __str__(self) -> str:
        return f"{len(self.accepted)} accepted before, {len(self.accepted - self.found)} of them lost"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        alone = metafunc.config.getoption("one_by_one")
        metafunc.parametrize("seed", range(1, 6) if alone else range(1, 3))


async def test_what_was_accepted_survives_a_power_loss(
    seed: int, tmp_path: Path, results: list[Result]
) -> None:
    loss = await _lose_power(Rig(tmp_path), seed, tmp_path)
    results.append(loss.row(f"power lost under NATS, moment {seed}", seed))
    assert len(loss.accepted) >= ACCEPTED_LEAST
    assert loss.accepted <= loss.found, loss
    assert loss.accepted_after


async def test_a_server_that_answers_before_it_syncs_is_seen_to_lose(
    tmp_path: Path, results: list[Result]
) -> None:
    loss = await _lose_power(Rig(tmp_path, careful=False), 3, tmp_path)
    results.append(loss.row("power lost under NATS that syncs as by default", 3))
    assert len(loss.accepted) >= ACCEPTED_LEAST
    assert loss.accepted - loss.found, loss


async def _lose_power(rig: Rig, seed: int, folder: Path) -> Loss:
    chance = random.Random(seed)
    disk = Disk.fresh(folder / "disk", DISK_MB)
    with disk.mounted(rig.store), rig.nats() as process:
        with rig.api(), Book(folder / "requests.jsonl") as book:
            async with rig.load(book, chance) as load:
                sending = asyncio.create_task(load.run(plan("power", seed, SENDS, PEOPLE), RATE))
                await asyncio.sleep(chance.uniform(*CUT_AFTER_S))
                process.send_signal(signal.SIGSTOP)
                copy = await asyncio.to_thread(disk.after_power_loss, folder / "disk-after")
                sending.cancel()
                await asyncio.wait([sending])
        process.kill()
        process.wait()
    with copy.mounted(rig.store), rig.nats():
        found = await rig.taken()
        with rig.api(), Book(folder / "requests-after.jsonl") as after:
            async with rig.load(after, chance) as load:
                await load.run(plan("after", seed, SENDS_AFTER, PEOPLE), RATE)
    return Loss(accepted(book), found, accepted(after))
