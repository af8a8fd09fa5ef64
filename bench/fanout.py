"""From the broker to the frames of a thousand sockets, a thousand messages a second, beside a bare subscriber
that hears as many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child
from bench.latency import Latencies
from bench.rounds import in_turn, middle, ratio
from bench.site import Site
from bench.table import Figure
from stack.secrets import read
from stack.settings import LOOPBACK

SOCKETS = 1_000
PER_S = 1_000
P50_MOST_MS = 0.5
P99_MOST_MS = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one side of a round gave."""

    taken: Latencies
    per_s: float
    load_cpu: float
    server_cpu_s: float


@dataclass(frozen=True, slots=True)
class _Load:
    site: Site
    crowd: Child
    publisher: Child

    async def open(self) -> None:
        """Connects everybody."""
        people = [f"crowd{number:04d}" for number in range(SOCKETS)]
        token = self.site.stack.token
        members = [(token(user=person), f"user:{person}") for person in people]
        url = f"ws://{LOOPBACK}:{self.site.stack.settings.ports.websocket()}"
        await self.crowd.ask(90, enter={"url": url, "members": members, "nats": self.site.nats()})
        key = read(Path(self.site.stack.environment("realtime")["CROWN_DATA_KEY_FILE"]))
        await self.publisher.ask(10, open={"nats": self.site.nats(), "people": people, "data_key": key})

    async def run(self, to: str, seconds: float) -> Run:
        """Publishes for so long, and waits until all has arrived."""
        count, pid = int(PER_S * seconds), self.site.stack.pid("realtime")
        await self.crowd.ask(10, begin=True)
        before = self.site.cpu_s(pid)
        sent = await self.publisher.ask(seconds * 10 + 30, to=to, count=count, per_s=PER_S)
        heard = await self.crowd.ask(60, end=to, count=count)
        return Run(
            Latencies.read(heard["latencies"]),
            sent["per_s"],
            sent["cpu"] + heard["cpu"],
            (self.site.cpu_s(pid) - before) / count,
        )


async def measure(site: Site) -> list[Figure]:
    """Median and tail."""
    async with Child("bench.crowd") as crowd, Child("bench.publisher") as publisher:
        load = _Load(site, crowd, publisher)
        await load.open()
        await load.run("frames", 0.5)
        await load.run("bare", 0.5)
        pairs = await in_turn(
            lambda: load.run("frames", site.seconds), lambda: load.run("bare", site.seconds), site.rounds
        )
    return [
        _figure(f"broker → frame, {SOCKETS:,} sockets, p50", pairs, 50, P50_MOST_MS),
        _figure("  p99", pairs, 99, P99_MOST_MS),
    ]


def _figure(name: str, pairs: Sequence[tuple[Run, Run]], percent: float, most_ms: float) -> Figure:
    at = [(ours.taken.at(percent), bare.taken.at(percent)) for ours, bare in pairs]
    reached = middle([ours for ours, _ in at])
    per_s = middle([ours.per_s for ours, _ in pairs])
    load = middle([ours.load_cpu for ours, _ in pairs])
    server = middle([ours.server_cpu_s for ours, _ in pairs]) * 1e6
    return Figure(
        name,
        f"{reached:.2f} ms",
        f"{middle([bare for _, bare in at]):.2f} ms, bare subscriber",
        f"{ratio(at):.1f}",
        f"< {most_ms:g} ms",
        reached < most_ms,
        f"{per_s:,.0f}/s came; load {load:.2f} of a core; server {server:.0f} µs CPU each",
    )
