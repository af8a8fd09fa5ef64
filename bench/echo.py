"""Heartbeats of 64 sockets and their answers, each as soon as it had the last, beside a bare picows echo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.child import Child
from bench.rounds import in_turn, middle, ratio
from bench.site import Site
from bench.table import Figure
from bench.visitors import path
from stack.settings import LOOPBACK

SOCKETS = 64
PER_CPU_S = 60_000
PHOENIX = "29,600"
_REFS = range(1_000)


@dataclass(frozen=True, slots=True)
class Run:
    """What one side of a round gave."""

    per_s: float
    per_cpu_s: float
    load_cpu: float


@dataclass(frozen=True, slots=True)
class _Side:
    site: Site
    load: Child
    name: str
    pid: int

    async def run(self, seconds: float | None = None) -> Run:
        """One side of a round."""
        seconds = seconds or self.site.seconds
        before = self.site.cpu_s(self.pid)
        answer = await self.load.ask(seconds + 20, play=self.name, seconds=seconds)
        cpu_s = self.site.cpu_s(self.pid) - before
        return Run(answer["per_s"], answer["rounds"] / cpu_s, answer["cpu"])


async def measure(site: Site) -> list[Figure]:
    """Round trips."""
    async with Child("bench.pingpong") as load, Child("bench.bare") as bare:
        ours = _Side(site, load, "ours", site.stack.pid("realtime"))
        limit = _Side(site, load, "bare", bare.pid)
        beats = [f'[null,"{ref}","phoenix","heartbeat",{{}}]' for ref in _REFS]
        port = site.stack.settings.ports.websocket()
        await _open(ours, port, path(site.stack.token(user="echo")), beats, [_answer(ref) for ref in _REFS])
        await _open(limit, (await bare.ask(10))["port"], "/echo", beats, beats)
        pairs = await in_turn(ours.run, limit.run, site.few)
    return [_figure(pairs)]


def _answer(ref: int) -> str:
    return f'[null,"{ref}","phoenix","phx_reply",{{"status":"ok","response":{{}}}}]'


async def _open(side: _Side, port: int, at: str, said: list[str], heard: list[str]) -> None:
    order = {"host": LOOPBACK, "port": port, "path": at, "size": SOCKETS, "said": said, "heard": heard}
    await side.load.ask(20, open={"name": side.name, **order})
    await side.run(side.site.warm_s)


def _figure(pairs: Sequence[tuple[Run, Run]]) -> Figure:
    at = [(ours.per_cpu_s, bare.per_cpu_s) for ours, bare in pairs]
    reached = middle([ours for ours, _ in at])
    return Figure(
        f"echo of {SOCKETS} sockets, a CPU second",
        f"{reached:,.0f}",
        f"{middle([bare for _, bare in at]):,.0f}, bare picows echo",
        f"{ratio(at):.0%}",
        f"≥ {PER_CPU_S:,}",
        reached >= PER_CPU_S,
        f"{middle([ours.per_s for ours, _ in pairs]):,.0f}/s; "
        f"load {middle([ours.load_cpu for ours, _ in pairs]):.2f} of a core; "
        f"Phoenix, measured apart: {PHOENIX}",
    )
