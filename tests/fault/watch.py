"""Looks at a running suite every now and then, from outside: what it says of itself, and what its processes take."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import psutil

from stack.control import Stack
from stack.services import roles
from stack.state import Health
from tests.fault.evidence import Counted, Look, Most

_PERIOD_S = 0.5
_ANSWER_LIMIT_S = 5.0
_WELL = frozenset({Health.HEALTHY, Health.EXTERNAL})
_CHANNELS = ("email", "push", "sms")
_ACCEPTED = re.compile(r"^crown_accepted_total(?:\{[^}]*\})? (\S+)$", re.M)
_OUTCOME = re.compile(r'^crown_outcomes_total\{[^}]*outcome="(Delivered|Unknown)"[^}]*\} (\S+)$', re.M)


@dataclass(frozen=True, slots=True)
class _Counters:
    """What one process has counted since its start."""

    pid: int | None
    accepted: float = 0.0
    outcomes: Mapping[str, float] = field(default_factory=dict)


class Watch:
    """Looks from `begin` until `end`; what it found stands in the attributes."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._http = http
        self._ours = {role.name: role.kind for role in roles(stack.settings.given)}
        self._looking: asyncio.Task[None] | None = None
        self._before: dict[str, _Counters] = {}
        self._restarts_before: dict[str, int] = {}
        self._log_before = 0
        self.looks: list[Look] = []
        self.most: dict[str, Most] = {}
        # One for each look, by process.
        self.series: dict[str, list[Most]] = {}

    @staticmethod
    def now(stack: Stack) -> dict[str, Most]:
        """What each process takes at this moment."""
        return {one.name: _taken(one.pid) for one in stack.status() if one.pid is not None}

    async def begin(self) -> None:
        """Forgets what was."""
        await self.end()
        self.looks, self.most, self.series = [], {}, {}
        self._before = await self._counters()
        self._restarts_before = {one.name: one.restarts for one in self._stack.status()}
        self._log_before = self._log_size()
        self._looking = asyncio.create_task(self._look())

    async def ready(self, limit_s: float) -> None:
        """Returns when the suite says that all of it is ready. Raises TimeoutError."""
        limit = time.monotonic() + limit_s
        while told := await self._complaint():
            if time.monotonic() > limit:
                raise TimeoutError(told)
            await asyncio.sleep(_PERIOD_S)

    async def end(self) -> None:
        """Looks no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
            self._looking = None

    def restarts(self) -> dict[str, int]:
        """How often each process was started again."""
        now = {one.name: one.restarts for one in self._stack.status()}
        return {name: count for name, was in self._restarts_before.items() if (count := now[name] - was)}

    def log_bytes(self) -> int:
        """What our processes have written to their logs."""
        return self._log_size() - self._log_before

    async def counted(self) -> Counted:
        """What the metrics have grown by, where no process took its counters with it."""
        now = await self._counters()
        here = {one.name for one in self._stack.status()}
        same = {name for name in here & set(now) if now[name].pid == self._before[name].pid is not None}
        accepted: int | None = 0
        delivered: Counter[str] = Counter()
        unknown: Counter[str] = Counter()
        lost: set[str] = set()
        for name, kind in self._ours.items():
            if name not in here:
                continue
            if name not in same:
                lost.add(kind)
                continue
            before, after = self._before[name], now[name]
            if kind == "ingest-api" and accepted is not None:
                accepted += round(after.accepted - before.accepted)
            if kind in _CHANNELS:
                for counts, outcome in ((delivered, "Delivered"), (unknown, "Unknown")):
                    more = after.outcomes.get(outcome, 0) - before.outcomes.get(outcome, 0)
                    counts[kind] += round(more)
        if "ingest-api" in lost or "ingest-api" not in here:
            accepted = None
        return Counted(
            accepted,
            {channel: count for channel, count in delivered.items() if channel not in lost},
            {channel: count for channel, count in unknown.items() if channel not in lost},
        )

    async def _look(self) -> None:
        while True:
            status = self._stack.status()
            unwell = frozenset(one.name for one in status if one.health not in _WELL)
            for one in status:
                if one.pid is not None and one.name in self._ours:
                    self._measure(one.name, one.pid)
            began = time.time()
            told = await self._complaint()
            self.looks.append(Look(began, not told, unwell, told))
            await asyncio.sleep(_PERIOD_S)

    def _measure(self, name: str, pid: int) -> None:
        before, now = self.most.get(name, Most(0.0, 0)), _taken(pid)
        self.most[name] = Most(max(before.rss_mb, now.rss_mb), max(before.descriptors, now.descriptors))
        self.series.setdefault(name, []).append(now)

    async def _complaint(self) -> str:
        """What /readyz complains of; empty: nothing."""
        try:
            async with asyncio.timeout(_ANSWER_LIMIT_S):
                async with self._http.get(f"{self._stack.settings.gateway_url}/readyz") as answer:
                    return "" if answer.status == 200 else await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    async def _counters(self) -> dict[str, _Counters]:
        return dict(zip(self._ours, await asyncio.gather(*map(self._count, self._ours)), strict=True))

    async def _count(self, name: str) -> _Counters:
        status = {one.name: one for one in self._stack.status()}
        if name not in status:
            return _Counters(None)
        address = f"http://127.0.0.1:{self._stack.settings.ports.metrics(name)}/metrics"
        try:
            async with asyncio.timeout(_ANSWER_LIMIT_S), self._http.get(address) as answer:
                page = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return _Counters(None)
        outcomes: Counter[str] = Counter()
        for outcome, value in _OUTCOME.findall(page):
            outcomes[outcome] += float(value)  # type: ignore[assignment]
        return _Counters(status[name].pid, sum(map(float, _ACCEPTED.findall(page))), outcomes)

    def _log_size(self) -> int:
        return sum(self._sizes())

    def _sizes(self) -> Iterator[int]:
        for name in self._ours:
            path = self._stack.layout.log(name)
            if path.exists():
                yield path.stat().st_size


def _taken(pid: int) -> Most:
    """Nothing, where it has just ended."""
    try:
        process = psutil.Process(pid)
        return Most(process.memory_info().rss / 1e6, process.num_fds())
    except psutil.Error:
        return Most(0.0, 0)
