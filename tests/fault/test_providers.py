"""Providers that hang, fail, throttle and talk nonsense in the middle of the load. Whatever was accepted has to end
once, the other channels must not feel it, and who is down is not called again and again. Two are out in one run; with
--one-by-one each has a run of its own."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stack.control import Stack
from tests.fault.checker import Bounds, check
from tests.fault.history import Book, Sent, read
from tests.fault.load import plan
from tests.fault.site import Site, site
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(240)

PORT_BASE = 21_400
SEED = 1
SENDS = 600
RATE = 75.0
PEOPLE = 40
QUIET_LIMIT_S = 150.0
TIMEOUT_S = 2.0
CALLS_MOST = 1.5
UNFELT_MOST = 1.02
_STEP_S = 0.1

# What is out, and how. `channel` is whose deliveries feel it; the others must not.
OUTAGES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "Twilio hangs": ("twilio", "sms", {"hang": True}),
    "Twilio answers 503": ("twilio", "sms", {"status": 503, "effect": False}),
    "FCM answers 503": ("fcm", "push", {"status": 503}),
    "SendGrid resets before it reads": ("sendgrid", "email", {"reset": "before"}),
}
# Each with one that others would not feel either.
TOGETHER = (
    ("Twilio hangs", "FCM answers 503"),
    ("Twilio answers 503", "SendGrid resets before it reads"),
)
# One call in three meets one of these.
MISCHIEF: tuple[dict[str, Any], ...] = (
    {"status": 500, "effect": False},
    {"status": 503, "headers": {"Retry-After": "1"}, "effect": False},
    {"status": 429, "headers": {"Retry-After": "soon"}, "effect": False},
    {"reset": "before"},
    {"delay_s": 0.3},
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    given = {
        "CROWN_PROVIDER_TIMEOUT_S": f"{TIMEOUT_S:g}",
        "CROWN_EMAIL_PROVIDERS": "sendgrid",
        "CROWN_SANDBOX_CALLBACKS": "off",
        # SNS takes no id of ours, so that what it did could not be told from what nobody asked for.
        "CROWN_SMS_PROVIDERS": "twilio",
    }
    with Stack(PORT_BASE, home=tmp_path_factory.mktemp("stack"), env=given) as running:
        yield running


@pytest.fixture(scope="module")
async def scene(stack: Stack) -> AsyncIterator[Site]:
    async with site(stack, PEOPLE) as found:
        yield found


async def run(
    scene: Site,
    name: str,
    folder: Path,
    meanwhile: Callable[[], Awaitable[None]],
    heal: Callable[[], Awaitable[None]],
) -> tuple[list[Sent], Result]:
    """Load while `meanwhile` runs, then `heal`, then rest."""
    with Book(folder / "requests.jsonl") as book:
        load = scene.load(book, random.Random(SEED))
        trouble = asyncio.ensure_future(meanwhile())
        rate = await load.run(plan(re.sub("[^A-Za-z]+", "-", name), SEED, SENDS, scene.people), RATE)
        trouble.cancel()
        await asyncio.wait([trouble])
        await heal()
    healed = time.monotonic()
    history = read(book.path)
    left = await scene.quiet(history, QUIET_LIMIT_S)
    verdict = check(history, await scene.evidence(), Bounds())
    assert not verdict.problems, "\n".join(str(problem) for problem in verdict.problems[:20])
    assert not left
    assert verdict.accepted >= 0.9 * SENDS
    return history, Result(name, verdict, rate, 0.0, time.monotonic() - healed)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "names" in metafunc.fixturenames:
        groups = [(name,) for name in OUTAGES] if metafunc.config.getoption("one_by_one") else [*TOGETHER]
        metafunc.parametrize("names", groups, ids=[", ".join(names) for names in groups])


async def test_an_outage_is_waited_out_and_felt_by_nobody_else(
    names: Sequence[str], scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    channels = {OUTAGES[name][1] for name in names}
    await scene.begin()
    for name in names:
        provider, _, answer = OUTAGES[name]
        await scene.script(provider, answer)

    async def wait() -> None:
        await asyncio.sleep(3_600)

    async def heal() -> None:
        for name in names:
            await scene.heal(OUTAGES[name][0])

    _, result = await run(scene, ", ".join(names), tmp_path, wait, heal)
    results.append(result)
    for channel, calls in (await scene.calls()).items():
        if channel in channels:
            assert calls.mean <= CALLS_MOST, f"{calls.mean:.2f} calls for each delivery"
        else:
            # A machine that is busy may be late by itself now and then.
            assert calls.mean <= UNFELT_MOST, f"{channel} felt it: {calls.mean:.3f}"


async def test_a_third_of_all_calls_going_wrong_costs_time_and_nothing_else(
    scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    chance = random.Random(SEED)
    providers = ("sendgrid", "twilio", "fcm")

    async def mischief() -> None:
        while True:
            for provider in providers:
                await scene.heal(provider)
                if chance.random() < 1 / 3:
                    await scene.script(provider, chance.choice(MISCHIEF))
            await asyncio.sleep(_STEP_S)

    async def heal() -> None:
        for provider in providers:
            await scene.heal(provider)

    await scene.begin()
    _, result = await run(scene, "a third goes wrong", tmp_path, mischief, heal)
    results.append(result)
