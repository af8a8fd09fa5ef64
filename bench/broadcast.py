"""Broadcasts to everybody on one topic, as fast as they go, beside a bare picows loop: one by one, where each
message is a write of its own for each socket, and close together, where what comes at once goes out at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child
from bench.latency import Latencies
from bench.rounds import in_turn, middle, ratio
from bench.site import Site
from bench.table import Figure
from bench.visitors import path
from stack.secrets import read
from stack.settings import LOOPBACK

USER = "broadcast"
PER_S_TOGETHER = 1_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """Messages on their way; and after how many each subscriber is read. Prompter reading costs the load more than
    the server's part; later reading costs the server, whose kernel then finds no warm memory for the next."""

    in_flight: int
    read_every: int


# The next message is published once a subscriber has the one before: no two can go out together.
ONE_BY_ONE = Pace(in_flight=1, read_every=4)
TOGETHER = Pace(in_flight=32, read_every=32)


@dataclass(frozen=True, slots=True)
class Size:
    """So many sockets, the deliveries to reach in a CPU second one by one, and what Phoenix 1.8.12 (its two
    servers) made of the same on a machine like this one."""

    sockets: int
    per_cpu_s: int
    phoenix: str


SIZES = (Size(1_000, 250_000, "81,600 to 99,900"), Size(8_000, 125_000, "54,800 to 64,600"))


@dataclass(frozen=True, slots=True)
class Run:
    """What one side of a round gave."""

    per_s: float
    per_cpu_s: float
    taken: Latencies
    load_cpu: float
    bus_cpu: float


@dataclass(frozen=True, slots=True)
class _Side:
    site: Site
    load: Child
    name: str
    pids: tuple[int, ...]

    async def run(self, pace: Pace, seconds: float | None = None) -> Run:
        """One side of a round."""
        seconds = seconds or self.site.seconds
        before, bus = self._cpu_s(), self.site.cpu_s(self.site.stack.pid("nats"))
        answer = await self.load.ask(
            seconds + 60,
            run=self.name,
            seconds=seconds,
            in_flight=pace.in_flight,
            read_every=pace.read_every,
        )
        return Run(
            per_s=answer["deliveries"] / answer["seconds"],
            per_cpu_s=answer["deliveries"] / (self._cpu_s() - before),
            taken=Latencies.read(answer["latencies"]),
            load_cpu=answer["cpu"],
            bus_cpu=(self.site.cpu_s(self.site.stack.pid("nats")) - bus) / answer["seconds"],
        )

    def _cpu_s(self) -> float:
        return sum(self.site.cpu_s(pid) for pid in self.pids)


async def measure(site: Site) -> list[Figure]:
    """At each size: one by one beside the bare loop, then close together."""
    figures = []
    for size in SIZES:
        async with Child("bench.swarm") as load, Child("bench.bare") as bare:
            ours, limit = await _open(site, load, bare, size)
            pairs = await in_turn(lambda: ours.run(ONE_BY_ONE), lambda: limit.run(ONE_BY_ONE), site.few)  # noqa: B023
            together = await in_turn(lambda: ours.run(TOGETHER), lambda: limit.run(TOGETHER), 1)  # noqa: B023
        figures += _figures(size, pairs, together)
    return figures


async def _open(site: Site, load: Child, bare: Child, size: Size) -> tuple[_Side, _Side]:
    ours = _Side(site, load, "ours", (site.stack.pid("realtime"),))
    limit = _Side(site, load, "bare", (bare.pid,))
    given = site.stack.environment("realtime")
    common = {"host": LOOPBACK, "size": size.sockets}
    order = {
        **common,
        "name": ours.name,
        "port": site.stack.settings.ports.websocket(),
        "path": path(site.stack.token(user=USER)),
        "topic": f"user:{USER}",
        "nats": site.nats(),
        "data_key": read(Path(given["CROWN_DATA_KEY_FILE"])),
    }
    await load.ask(60, open=order)
    where = await bare.ask(10)
    await load.ask(60, open={**common, **where, "name": limit.name, "path": "/listen"})
    for side in (ours, limit):
        await side.run(ONE_BY_ONE, site.warm_s)
    return ours, limit


_Pairs = Sequence[tuple[Run, Run]]


def _figures(size: Size, pairs: _Pairs, together: _Pairs) -> list[Figure]:
    at = [(ours.per_cpu_s, bare.per_cpu_s) for ours, bare in pairs]
    reached = middle([ours for ours, _ in at])
    whole = middle([ours.per_s for ours, _ in together])
    return [
        Figure(
            f"broadcast to {size.sockets:,}, one by one, a CPU second",
            f"{reached:,.0f}",
            f"{middle([bare for _, bare in at]):,.0f}, bare picows loop",
            f"{ratio(at):.0%}",
            f"≥ {size.per_cpu_s:,}",
            reached >= size.per_cpu_s,
            f"{middle([ours.per_s for ours, _ in pairs]):,.0f}/s; {_use(pairs)}; "
            f"Phoenix, measured apart: {size.phoenix}",
        ),
        Figure(
            "  … as fast as they come",
            f"{whole:,.0f}/s",
            f"{middle([bare.per_s for _, bare in together]):,.0f}/s, bare picows loop",
            f"{ratio([(ours.per_s, bare.per_s) for ours, bare in together]):.1f}",
            f"≥ {PER_S_TOGETHER:,}/s",
            whole >= PER_S_TOGETHER,
            f"{middle([ours.per_cpu_s for ours, _ in together]):,.0f} a CPU second; {_use(together)}; "
            f"{_delay(together):.1f} ms, one by one {_delay(pairs):.1f}",
        ),
    ]


def _delay(pairs: _Pairs) -> float:
    """Milliseconds from the publish to one of the subscribers, at the median."""
    return middle([ours.taken.at(50) for ours, _ in pairs])


def _use(pairs: _Pairs) -> str:
    load, bus = middle([ours.load_cpu for ours, _ in pairs]), middle([ours.bus_cpu for ours, _ in pairs])
    return f"load {load:.2f} of a core, NATS {bus:.2f}"
