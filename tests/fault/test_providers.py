"""Providers that hang, fail, throttle and talk nonsense in the middle of the load. Whatever was accepted has to end
once, the other channels must not feel it, and who is down is not called again and again. Two are out in one run; with
--one-by-one each has a run of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stack.control import Stack
from tests.fault.checker import Bounds
from tests.fault.run import Course, Spec, run
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "names" in metafunc.fixturenames:
        groups = [(name,) for name in OUTAGES] if metafunc.config.getoption("one_by_one") else [*TOGETHER]
        metafunc.parametrize("names", groups, ids=[", ".join(names) for names in groups])


async def test_an_outage_is_waited_out_and_felt_by_nobody_else(
    names: Sequence[str], scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    felt = {OUTAGES[name][1] for name in names}
    unfelt = {"push", "email", "sms"} - felt
    # A machine that is busy may be late by itself now and then.
    calls = {**dict.fromkeys(felt, CALLS_MOST), **dict.fromkeys(unfelt, UNFELT_MOST)}
    bounds = Bounds(calls=calls, unfelt=unfelt, restarts=())

    async def fault(course: Course) -> None:
        await course.reached(SENDS // 4)
        course.broken()
        for name in names:
            provider, _, answer = OUTAGES[name]
            await scene.script(provider, answer)
        await course.reached(SENDS)
        for name in names:
            await scene.heal(OUTAGES[name][0])
        course.mended()

    spec = Spec(", ".join(names), SENDS, RATE, SEED, bounds, QUIET_LIMIT_S)
    outcome = await run(scene, spec, fault, tmp_path, results)
    assert outcome.verdict.accepted >= 0.9 * SENDS


async def test_a_third_of_all_calls_going_wrong_costs_time_and_nothing_else(
    scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    providers = ("sendgrid", "twilio", "fcm")

    async def fault(course: Course) -> None:
        reached = asyncio.create_task(course.reached(SENDS))
        course.broken()
        while not reached.done():
            for provider in providers:
                await scene.heal(provider)
                if course.chance.random() < 1 / 3:
                    await scene.script(provider, course.chance.choice(MISCHIEF))
            await asyncio.sleep(_STEP_S)
        for provider in providers:
            await scene.heal(provider)
        course.mended()

    spec = Spec("a third of all calls goes wrong", SENDS, RATE, SEED, Bounds(restarts=()), QUIET_LIMIT_S)
    outcome = await run(scene, spec, fault, tmp_path, results)
    assert outcome.verdict.accepted >= 0.9 * SENDS
