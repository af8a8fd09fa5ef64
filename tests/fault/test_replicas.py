"""Two API processes and two dispatchers behind one gateway: they share the work, and one of them may be killed in
the middle of it. Nothing is lost and nothing is done twice."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from stack.control import Stack
from tests.fault.checker import Bounds, check
from tests.fault.history import Book, read
from tests.fault.load import Load, plan
from tests.fault.site import Site, site
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(300)

PORT_BASE = 21_600
SEED = 7
SENDS = 2_000
RATE = 200.0
PEOPLE = 40
RESTART_LIMIT_S = 60.0
QUIET_LIMIT_S = 150.0
# Each of the two does at least this part of the work until one is killed.
LEAST_SHARE = 0.1
# What counts the work of a role.
SERIES = {"ingest-api": "crown_accepted_total", "ingest-dispatch": "crown_dispatched_total"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    given = {
        "CROWN_STACK_SCALE": "ingest-api=2,ingest-dispatch=2",
        "CROWN_SANDBOX_CALLBACKS": "off",
        "CROWN_SMS_PROVIDERS": "twilio",
    }
    with Stack(PORT_BASE, home=tmp_path_factory.mktemp("stack"), env=given) as running:
        yield running


@pytest.fixture(scope="module")
async def scene(stack: Stack) -> AsyncIterator[Site]:
    async with site(stack, PEOPLE) as found:
        yield found


@pytest.mark.parametrize("role", [*SERIES])
async def test_two_share_the_work_and_one_may_die(
    role: str, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    await scene.begin()
    both = (role, f"{role}-2")
    before = {name: await _done(scene.stack, name, SERIES[role]) for name in both}
    tasks = plan(f"two-{role}", SEED, SENDS, scene.people)
    with Book(tmp_path / "requests.jsonl") as book:
        load = scene.load(book, random.Random(SEED))
        kill = asyncio.create_task(_kill_halfway(scene.stack, both[1], load, SERIES[role]))
        rate = await load.run(tasks, RATE)
        second, restart_s = await kill
    ended = time.monotonic()
    history = read(book.path)
    left = await scene.quiet(history, QUIET_LIMIT_S)
    verdict = check(history, await scene.evidence(), Bounds())
    results.append(Result(f"kill -9 {both[1]}", verdict, rate, restart_s, time.monotonic() - ended))
    assert not verdict.problems, "\n".join(str(problem) for problem in verdict.problems[:20])
    assert not left
    first = await _done(scene.stack, both[0], SERIES[role])
    assert first - before[both[0]] >= SENDS * LEAST_SHARE
    assert second - before[both[1]] >= SENDS / 2 * LEAST_SHARE


async def _kill_halfway(stack: Stack, name: str, load: Load, series: str) -> tuple[float, float]:
    """What it had done when it was killed, and the seconds until it was healthy again."""
    await load.halfway.wait()
    done = await _done(stack, name, series)
    pid = stack.kill(name)
    killed = time.monotonic()
    await asyncio.to_thread(stack.wait_healthy, name, pid, RESTART_LIMIT_S)
    return done, time.monotonic() - killed


async def _done(stack: Stack, name: str, series: str) -> float:
    address = f"http://127.0.0.1:{stack.settings.ports.metrics(name)}/metrics"
    async with aiohttp.ClientSession() as http, http.get(address) as answer:
        page = await answer.text()
    return sum(map(float, re.findall(rf"^{series}(?:\{{[^}}]*\}})? (\S+)$", page, re.M)))
