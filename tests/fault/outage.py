"""A provider that is out in the middle of the load. What is for it waits, and comes once when it is back; it is not
called again and again meanwhile; and the other channels do not feel it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.fault.checker import Bounds
from tests.fault.run import Course, Spec, run
from tests.fault.site import Site
from tests.fault.table import Result

_SEED = 1
_SENDS = 1_500
_RATE = 75.0
_QUIET_LIMIT_S = 150.0
_CALLS_MOST = 1.5
# A machine that is busy may be late by itself now and then.
_UNFELT_MOST = 1.02

_Step = Callable[[], Awaitable[None]]


async def outage(
    name: str,
    felt: str,
    breaks: _Step,
    heals: _Step,
    scene: Site,
    folder: Path,
    results: list[Result],
    calls_most: float = _CALLS_MOST,
) -> None:
    """For three quarters of the load the channel `felt` has a provider that `breaks`. `calls_most` is how often it
    may be called for a delivery, on average."""
    unfelt = {"push", "email", "sms"} - {felt}
    bounds = Bounds(
        calls={felt: calls_most, **dict.fromkeys(unfelt, _UNFELT_MOST)}, unfelt=unfelt, restarts=()
    )

    async def fault(course: Course) -> None:
        await course.reached(_SENDS // 4)
        course.broken()
        await breaks()
        await course.reached(_SENDS)
        await heals()
        course.mended()

    spec = Spec(name, _SENDS, _RATE, _SEED, bounds, _QUIET_LIMIT_S)
    outcome = await run(scene, spec, fault, folder, results)
    assert outcome.verdict.accepted >= 0.9 * _SENDS
