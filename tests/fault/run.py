"""One fault run from start to verdict: load at a fixed rate, something that breaks meanwhile, rest, and the checker.

    async def fault(course: Course) -> None:
        await course.reached(200)
        course.broken()
        pid = scene.stack.kill("nats")
        await asyncio.to_thread(scene.stack.wait_healthy, "nats", pid, 60)
        course.mended()

    outcome = await run(scene, Spec("kill -9 nats", sends=600, rate=75), fault, tmp_path, results)

Everything that is left to chance follows from the seed, which the row of the table names."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fault import lags
from tests.fault.checker import Bounds, Verdict, check
from tests.fault.evidence import Evidence, Span
from tests.fault.history import Book, Sent, read
from tests.fault.load import Load, Task, plan
from tests.fault.site import Site
from tests.fault.table import Result

_QUIET_LIMIT_S = 150.0
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Blow:
    """One of several: what is hit, and how long it is quiet afterwards."""

    name: str
    after_s: float


def schedule(seed: int, names: Sequence[str], count: int, after_s: tuple[float, float]) -> tuple[Blow, ...]:
    """`count` blows, the same for the same seed; `after_s` is the least and the most between two."""
    chance = random.Random(f"schedule {seed}")
    return tuple(Blow(chance.choice(names), round(chance.uniform(*after_s), 1)) for _ in range(count))


@dataclass(frozen=True, slots=True)
class Spec:
    """What is run. `fault` names the row. With `until_over` rounds of `sends` follow each other without a pause until
    the fault is over; else the load ends by itself, and the fault has to. `blows` are told where something went
    wrong."""

    fault: str
    sends: int
    rate: float
    seed: int = 1
    bounds: Bounds = field(default_factory=Bounds)
    quiet_limit_s: float = _QUIET_LIMIT_S
    until_over: bool = False
    # Whether each client asks again until it has an answer.
    patient: bool = False
    blows: tuple[Blow, ...] = ()


class Course:
    """The course of a fault, as the fault itself notes it. `chance` follows from the seed."""

    def __init__(self, load: Load, chance: random.Random) -> None:
        self._load = load
        self.chance = chance
        self._began: float | None = None
        self._ended: float | None = None

    async def reached(self, count: int) -> None:
        """Returns when so many requests have gone out."""
        await self._load.reached(count)

    def broken(self) -> None:
        """It begins now; of several times the first counts."""
        if self._began is None:
            self._began = time.time()

    def mended(self) -> None:
        """All is healthy again now; of several times the last counts."""
        self._ended = time.time()

    @property
    def span(self) -> Span | None:
        """From the first moment to the last; None while it has none."""
        if self._began is None:
            return None
        return Span(self._began, self._ended if self._ended is not None else time.time())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has given."""

    history: Sequence[Sent]
    evidence: Evidence
    verdict: Verdict
    result: Result
    # From when it began until all was healthy again.
    fault: Span | None


Fault = Callable[[Course], Awaitable[None]]


async def nothing(course: Course) -> None:
    """No fault: what the others are compared with."""


async def run(scene: Site, spec: Spec, fault: Fault, folder: Path, results: list[Result]) -> Outcome:
    """Runs it, adds its row to `results`, and raises AssertionError where a promise was broken or not everything
    ended. The scene must be the caller's alone, and `Site.begin` must have been called where the scene was prepared
    (slow providers, scripts); otherwise it is called here."""
    if not scene.begun:
        await scene.begin()
    with Book(folder / "requests.jsonl") as book:
        load = scene.load(book, random.Random(f"clients {spec.seed}"))
        course = Course(load, random.Random(f"{spec.fault} {spec.seed}"))
        breaking = asyncio.ensure_future(fault(course))
        try:
            rate = await load.run(_tasks(scene, spec, breaking), spec.rate)
            await breaking
        finally:
            breaking.cancel()
    history = read(book.path)
    healed = time.time() if course.span is None else course.span.end
    left = await scene.quiet(history, spec.quiet_limit_s)
    drain_s = time.time() - healed
    evidence = await scene.evidence()
    verdict = check(history, evidence, replace(spec.bounds, fault=course.span))
    result = _result(spec, rate, history, evidence, verdict, course.span, drain_s, left)
    results.append(result)
    told = [f"seed {spec.seed}", *map(str, spec.blows), *map(str, verdict.problems[:_SHOWN])]
    assert not verdict.problems, "\n".join(told)
    assert not left
    return Outcome(history, evidence, verdict, result, course.span)


def _tasks(scene: Site, spec: Spec, breaking: asyncio.Future[None]) -> Iterator[Task]:
    name = re.sub("[^A-Za-z0-9]+", "-", spec.fault)
    for number in itertools.count():
        for task in plan(f"{name}-{number}", spec.seed, spec.sends, scene.people):
            yield replace(task, patient=True) if spec.patient else task
        if not spec.until_over or breaking.done():
            return


def _result(
    spec: Spec,
    rate: float,
    history: Sequence[Sent],
    evidence: Evidence,
    verdict: Verdict,
    fault: Span | None,
    drain_s: float,
    left: str,
) -> Result:
    noticed = None
    if fault is not None:
        told = (look.time for look in evidence.looks if not look.ready or look.unwell)
        noticed = next((moment - fault.begin for moment in told if fault.holds(moment)), None)
    calls = list(evidence.calls.values())
    most = list(evidence.most.values())
    return Result(
        fault=spec.fault,
        seed=spec.seed,
        rate=rate,
        verdict=verdict,
        calls=sum(one.mean for one in calls) / len(calls) if calls else None,
        detect_s=noticed,
        recover_s=None if fault is None else fault.end - fault.begin,
        drain_s=drain_s,
        answers=lags.answers(history, fault),
        handed=lags.handed(history, evidence, fault),
        rss_mb=max((one.rss_mb for one in most), default=None),
        descriptors=max((one.descriptors for one in most), default=None),
        wrong=left,
    )
