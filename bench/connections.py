"""As many people as one realtime process has to hold, each with a token and a topic of their own: how fast they come
in, what each costs then, and what each takes while nothing happens. Beside it bare picows, which checks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bench import signing
from bench.child import Child
from bench.memory import Memory
from bench.site import Site
from bench.table import Figure
from bench.visitors import path
from stack.settings import LOOPBACK

SOCKETS, SOCKETS_QUICK = 18_000, 3_000
PER_S = 2_500
CPU_MOST_MS = 0.30
KB_MOST = 22.0
PHOENIX_CPU = "0.195 to 0.311 without a token"
PHOENIX_KB = "36.6 to 62"
_WARM = 200
_LIMIT_S = 60
_SETTLE_S = 1.5


@dataclass(frozen=True, slots=True)
class Run:
    """What one side gave: CPU and memory are those of a connection."""

    per_s: float
    cpu_ms: float
    memory: Memory
    load_cpu: float


async def measure(site: Site) -> list[Figure]:
    """All at once, once."""
    count = SOCKETS_QUICK if site.quick else SOCKETS
    people = [f"person{number:05d}" for number in range(count)]
    tokens = signing.tokens(site.stack, people)
    members = [(path(token), f"user:{person}") for token, person in zip(tokens, people, strict=True)]
    async with Child("bench.bare") as bare:
        port = (await bare.ask(10))["port"]
        limit = await _run(site, bare.pid, port, [("/listen", "")] * count)
    ours = await _run(site, site.stack.pid("realtime"), site.stack.settings.ports.websocket(), members)
    return _figures(count, ours, limit)


async def _run(site: Site, pid: int, port: int, members: Sequence[tuple[str, str]]) -> Run:
    async with Child("bench.arrival") as warming, Child("bench.arrival") as load:
        where = {"host": LOOPBACK, "port": port, "limit_s": _LIMIT_S}
        # What is only loaded once is no part of a connection.
        await warming.ask(_LIMIT_S, enter=members[:_WARM], **where)
        await load.ask(10)
        before, cpu_s = Memory.of(pid), site.cpu_s(pid)
        answer = await load.ask(_LIMIT_S + 10, enter=members[_WARM:], **where)
        cpu_s, count = site.cpu_s(pid) - cpu_s, len(members) - _WARM
        await asyncio.sleep(_SETTLE_S)
        return Run(
            per_s=count / answer["seconds"],
            cpu_ms=cpu_s / count * 1e3,
            memory=Memory.of(pid).since(before, count),
            load_cpu=answer["cpu"],
        )


def _figures(count: int, ours: Run, bare: Run) -> list[Figure]:
    kb, bare_kb = ours.memory.resident / 1e3, bare.memory.resident / 1e3
    return [
        Figure(
            f"{count:,} connections, token, join and subscription",
            f"{ours.per_s:,.0f}/s",
            f"{bare.per_s:,.0f}/s, bare picows",
            f"{ours.per_s / bare.per_s:.0%}",
            f"≥ {PER_S:,}/s",
            ours.per_s >= PER_S,
            f"load {ours.load_cpu:.2f} of a core",
        ),
        Figure(
            "  CPU of each",
            f"{ours.cpu_ms:.2f} ms",
            f"{bare.cpu_ms:.2f} ms",
            f"{ours.cpu_ms / bare.cpu_ms:.1f}",
            f"≤ {CPU_MOST_MS:.2f} ms",
            ours.cpu_ms <= CPU_MOST_MS,
            f"Phoenix, measured apart: {PHOENIX_CPU}",
        ),
        Figure(
            "  memory of each",
            f"{kb:.1f} kB",
            f"{bare_kb:.1f} kB",
            f"{kb / bare_kb:.1f}",
            f"≤ {KB_MOST:g} kB",
            kb <= KB_MOST,
            f"{ours.memory.own / 1e3:.1f} kB its own; the kernel {ours.memory.kernel / 1e3:.1f} kB for both ends; "
            f"Phoenix, measured apart: {PHOENIX_KB} kB",
        ),
    ]
