"""Providers that hang, fail, throttle and talk nonsense in the middle of the load. Whatever was accepted has to end
once, the other channels must not feel it, who is down is not called again and again, and who asks us to wait is not
called before. What is made of each single answer: tests/unit/services/test_classification.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fault.checker import Bounds
from tests.fault.outage import outage
from tests.fault.run import Course, Spec, run
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(240)

SEED = 1
SENDS = 1_500
RATE = 75.0
QUIET_LIMIT_S = 150.0
TIMEOUT_S = 2.0
WAIT_SENDS = 300
# What may be under way at once, and be told to wait, and the probes of a second.
REFUSED_MOST = 128
_STEP_S = 0.1

# What is out, and how. The channel is whose deliveries feel it; the others must not.
OUTAGES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "Twilio hangs": ("twilio", "sms", {"hang": True}),
    "Twilio answers 503": ("twilio", "sms", {"status": 503, "effect": False}),
    "Twilio resets before it reads": ("twilio", "sms", {"reset": "before"}),
    "FCM answers 500": ("fcm", "push", {"status": 500}),
    "FCM answers 503": ("fcm", "push", {"status": 503}),
    "SendGrid resets before it reads": ("sendgrid", "email", {"reset": "before"}),
    "SendGrid hangs": ("sendgrid", "email", {"hang": True}),
}
# Forms of Retry-After, and how long each asks us to wait; without one, FCM is left alone for a minute. All other
# forms: tests/unit/crown/test_retry_after.py.
ASKED_TO_WAIT: Mapping[str, tuple[str | None, float]] = {
    "3": ("3", 3.0),
    "a date in 4 s": ("date", 3.0),
    "none": (None, 0.0),
    "0": ("0", 0.0),
}
# Calls that were under way when the first one was told to wait.
UNDER_WAY_S = 0.5
# One call in three meets one of these.
MISCHIEF: tuple[dict[str, Any], ...] = (
    {"status": 500, "effect": False},
    {"status": 503, "headers": {"Retry-After": "1"}, "effect": False},
    {"status": 429, "headers": {"Retry-After": "soon"}, "effect": False},
    {"reset": "before"},
    {"delay_s": 0.3},
)


@pytest.fixture(scope="module")
def suite() -> Suite:
    given = {"CROWN_PROVIDER_TIMEOUT_S": f"{TIMEOUT_S:g}", "CROWN_EMAIL_PROVIDERS": "sendgrid"}
    return Suite(21_400, people=40, given=given)


@pytest.mark.parametrize("name", OUTAGES)
async def test_an_outage_is_waited_out_and_felt_by_nobody_else(
    name: str, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    provider, felt, answer = OUTAGES[name]
    breaks = partial(scene.script, provider, answer)
    await outage(name, felt, breaks, partial(scene.heal, provider), scene, tmp_path, results)


@pytest.mark.parametrize("form", ASKED_TO_WAIT)
async def test_who_asks_us_to_wait_is_not_called_before(
    form: str, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    text, wait_s = ASKED_TO_WAIT[form]

    async def fault(course: Course) -> None:
        await course.reached(WAIT_SENDS // 4)
        course.broken()
        value = formatdate(time.time() + 4, usegmt=True) if text == "date" else text
        headers = {} if value is None else {"Retry-After": value}
        await scene.script("fcm", {"status": 429, "headers": headers, "effect": False})
        await asyncio.sleep(1)
        await scene.heal("fcm")
        course.mended()

    await scene.begin()
    spec = Spec(
        f"FCM answers 429, Retry-After {form}", WAIT_SENDS, RATE, SEED, Bounds(restarts=()), QUIET_LIMIT_S
    )
    outcome = await run(scene, spec, fault, tmp_path, results)
    refused = await scene.refusals("fcm")
    assert refused, "nobody was told to wait"
    first = min(refused)
    calls = [*refused, *(effect.time for effect in outcome.evidence.effects if effect.source == "fcm")]
    early = [at - first for at in calls if first + UNDER_WAY_S < at < first + wait_s]
    assert early == []
    # A wish to wait costs no attempt, and none is made again and again meanwhile.
    assert len(refused) <= REFUSED_MOST


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
