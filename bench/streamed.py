"""Durable accept by stream, a hundred notifications a request, beside bare atomic batches of the bytes that accepting
them stores."""

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
from crown.notification.v1.ingest_service_pb2 import StreamItem, StreamNotificationsRequest

METHOD = "/crown.notification.v1.IngestService/StreamNotifications"
ITEMS = 100
STREAMS = 2
AHEAD = 8
ITEMS_LEAST = 20_000


@dataclass(frozen=True, slots=True)
class Run:
    """What one side of a round gave; `p99_ms` is of a request."""

    items_per_s: float
    load_cpu: float
    p99_ms: float = 0.0
    made: int = 0
    server_us: float = 0.0


async def measure(site: Site) -> list[Figure]:
    """Items a second."""
    order = _order(site.bearer(), site.stack.address("ingest-api"))
    async with Child("bench.items") as load, Child("bench.batches") as batches, Intake(site.nats()) as intake:
        before = await intake.count()
        first = await _ours(site, load, {**order, "seconds": 0.2, "warm_s": 0.0})
        bodies = [base64.b64encode(body).decode() for body in await intake.last("normal", ITEMS)]
        await batches.ask(10, open=site.nats(), bodies=bodies)
        pairs = await in_turn(
            lambda: _ours(site, load, {**order, "seconds": site.seconds, "warm_s": site.warm_s}),
            lambda: _peer(site, batches),
            site.rounds,
        )
        made = first.made + sum(ours.made for ours, _ in pairs)
        await intake.must_have(before + made * ITEMS)
    return [_figure(pairs)]


async def _ours(site: Site, load: Child, order: Answer) -> Run:
    pid = site.stack.pid("ingest-api")
    before_s = site.cpu_s(pid)
    answer = await load.ask(site.seconds + 40, **order)
    if not answer["made"]:
        raise BenchError("no request was answered")
    return Run(
        items_per_s=answer["per_s"] * ITEMS,
        load_cpu=answer["cpu"],
        p99_ms=Latencies.read(answer["latencies"]).at(99),
        made=answer["made"],
        server_us=(site.cpu_s(pid) - before_s) / (answer["made"] * ITEMS) * 1e6,
    )


async def _peer(site: Site, batches: Child) -> Run:
    answer = await batches.ask(site.seconds + 40, seconds=site.seconds, in_flight=STREAMS)
    return Run(answer["per_s"] * ITEMS, answer["cpu"])


def _order(bearer: tuple[str, str], target: str) -> Answer:
    items = [
        StreamItem(
            item_id=f"{number}",
            notification=draft(
                type="push",
                user_id=f"user{number:06d}",
                title="New Message",
                message="You have a new message from John",
                action_url="/messages/123",
            ),
        )
        for number in range(ITEMS)
    ]
    body = StreamNotificationsRequest(items=items).SerializeToString()
    return {
        "target": target,
        "method": METHOD,
        "body": base64.b64encode(body).decode(),
        "metadata": [bearer],
        "streams": STREAMS,
        "ahead": AHEAD,
    }


def _figure(pairs: Sequence[tuple[Run, Run]]) -> Figure:
    reached = middle([ours.items_per_s for ours, _ in pairs])
    bare = middle([peer.items_per_s for _, peer in pairs])
    share = ratio([(ours.items_per_s, peer.items_per_s) for ours, peer in pairs])
    load = middle([ours.load_cpu for ours, _ in pairs])
    server = middle([ours.server_us for ours, _ in pairs])
    slow = middle([ours.p99_ms for ours, _ in pairs])
    return Figure(
        f"accept, {STREAMS} streams, {ITEMS} items a request",
        f"{reached:,.0f} items/s",
        f"{bare:,.0f}/s, bare atomic batches",
        f"{share:.0%}",
        f"≥ {ITEMS_LEAST:,}/s",
        reached >= ITEMS_LEAST,
        f"load {load:.2f} of a core; server {server:.0f} µs CPU each; p99 of a request {slow:.0f} ms",
    )
