"""Durable accept, one notification a call, beside a grpc.aio server that does nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from bench.child import Answer, BenchError, Child
from bench.intake import Intake
from bench.latency import Latencies
from bench.rounds import in_turn, middle, ratio
from bench.site import Site
from bench.table import Figure
from crown.client.draft import draft

METHOD = "/crown.notification.v1.IngestService/SendNotification"
IN_FLIGHT = 256
RATE_LEAST = 0.80
P99_MOST = 2.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one side of a round gave."""

    per_s: float
    p50_ms: float
    p99_ms: float
    made: int
    load_cpu: float
    server_us: float


@dataclass(frozen=True, slots=True)
class _Side:
    site: Site
    load: Child
    target: str
    pid: int
    keyed: bool = False

    async def run(self) -> Run:
        """One side of a round."""
        site, before = self.site, self.site.cpu_s(self.pid)
        answer = await self.load.ask(
            site.warm_s + site.seconds + 20,
            **_order(self.site.bearer(), self.keyed),
            target=self.target,
            warm_s=site.warm_s,
            seconds=site.seconds,
        )
        return _run(answer, site.cpu_s(self.pid) - before)


async def measure(site: Site) -> list[Figure]:
    """Accepting with and without an idempotency key, beside the empty handler."""
    async with Child("bench.calls") as load, Child("bench.empty") as empty, Intake(site.nats()) as intake:
        target, pid = site.stack.address("ingest-api"), site.stack.pid("ingest-api")
        bare = _Side(site, load, (await empty.ask(10))["target"], empty.pid)
        before = await intake.count()
        plain = await in_turn(_Side(site, load, target, pid).run, bare.run, site.rounds)
        keyed = await in_turn(
            _Side(site, load, target, pid, keyed=True).run, bare.run, max(1, site.rounds // 2)
        )
        accepted = sum(ours.made for ours, _ in (*plain, *keyed))
        await intake.must_have(before + accepted)
    return [*_figures("accept, unary, 256 in flight", plain), *_rate("… with an idempotency key", keyed)]


def body() -> str:
    """The notification that is sent, as children are told it."""
    sent = draft(
        type="push",
        user_id="user123",
        title="New Message",
        message="You have a new message from John",
        action_url="/messages/123",
    )
    return base64.b64encode(sent.SerializeToString()).decode()


def _order(bearer: tuple[str, str], keyed: bool) -> Answer:
    return {
        "method": METHOD,
        "body": body(),
        "metadata": [bearer],
        "in_flight": IN_FLIGHT,
        "keyed": keyed,
    }


def _run(answer: Answer, server_cpu_s: float) -> Run:
    if answer["failed"] or not answer["made"]:
        raise BenchError(f"calls failed: {answer['failed']}")
    taken = Latencies.read(answer["latencies"])
    return Run(
        per_s=answer["per_s"],
        p50_ms=taken.at(50),
        p99_ms=taken.at(99),
        made=answer["made"],
        load_cpu=answer["cpu"],
        server_us=server_cpu_s / answer["made"] * 1e6,
    )


def _figures(name: str, pairs: Sequence[tuple[Run, Run]]) -> list[Figure]:
    slower = ratio([(ours.p99_ms, bare.p99_ms) for ours, bare in pairs])
    usual = ratio([(ours.p50_ms, bare.p50_ms) for ours, bare in pairs])
    return [
        *_rate(name, pairs, RATE_LEAST),
        Figure(
            "  p50",
            f"{middle([ours.p50_ms for ours, _ in pairs]):.1f} ms",
            f"{middle([bare.p50_ms for _, bare in pairs]):.1f} ms",
            f"{usual:.2f}",
        ),
        Figure(
            "  p99",
            f"{middle([ours.p99_ms for ours, _ in pairs]):.1f} ms",
            f"{middle([bare.p99_ms for _, bare in pairs]):.1f} ms",
            f"{slower:.2f}",
            f"≤ {P99_MOST:g}",
            slower <= P99_MOST,
        ),
    ]


def _rate(name: str, pairs: Sequence[tuple[Run, Run]], least: float | None = None) -> list[Figure]:
    share = ratio([(ours.per_s, bare.per_s) for ours, bare in pairs])
    load = middle([ours.load_cpu for ours, _ in pairs])
    server, empty = (
        middle([ours.server_us for ours, _ in pairs]),
        middle([bare.server_us for _, bare in pairs]),
    )
    return [
        Figure(
            name,
            f"{middle([ours.per_s for ours, _ in pairs]):,.0f}/s",
            f"{middle([bare.per_s for _, bare in pairs]):,.0f}/s, empty grpc.aio handler",
            f"{share:.0%}",
            f"≥ {least:.0%}" if least else "",
            share >= least if least else None,
            f"load {load:.2f} of a core; server {server:.0f} µs CPU each, empty {empty:.0f}",
        )
    ]
