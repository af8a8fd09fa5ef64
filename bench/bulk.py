"""Durable accept in bulk, ten times a thousand people a call, beside bare atomic batches of the bytes that
accepting them stores."""

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
from crown.notification.v1.ingest_service_pb2 import SendBulkNotificationsRequest

METHOD = "/crown.notification.v1.IngestService/SendBulkNotifications"
NOTIFICATIONS = 10
PEOPLE = 1_000
IN_FLIGHT = 8
RECIPIENTS_LEAST = 1_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """What one side of a round gave; `p99_ms` is of a call."""

    recipients_per_s: float
    load_cpu: float
    p99_ms: float = 0.0
    made: int = 0


async def measure(site: Site) -> list[Figure]:
    """Recipients a second."""
    order = _order(site.bearer(), site.stack.address("ingest-api"))
    async with Child("bench.calls") as load, Child("bench.batches") as batches, Intake(site.nats()) as intake:
        before = await intake.count()
        first = await _ours(site, load, {**order, "seconds": 0.2, "warm_s": 0.0})
        bodies = [base64.b64encode(body).decode() for body in await intake.last("bulk", NOTIFICATIONS)]
        await batches.ask(10, open=site.nats(), bodies=bodies)
        pairs = await in_turn(
            lambda: _ours(site, load, {**order, "seconds": site.seconds, "warm_s": site.warm_s}),
            lambda: _peer(site, batches),
            site.rounds,
        )
        made = first.made + sum(ours.made for ours, _ in pairs)
        await intake.must_have(before + made * NOTIFICATIONS)
    return _figures(pairs)


async def _ours(site: Site, load: Child, order: Answer) -> Run:
    answer = await load.ask(site.seconds + 40, **order)
    if answer["failed"] or not answer["made"]:
        raise BenchError(f"calls failed: {answer['failed']}")
    return Run(
        recipients_per_s=answer["per_s"] * NOTIFICATIONS * PEOPLE,
        load_cpu=answer["cpu"],
        p99_ms=Latencies.read(answer["latencies"]).at(99),
        made=answer["made"],
    )


async def _peer(site: Site, batches: Child) -> Run:
    answer = await batches.ask(site.seconds + 40, seconds=site.seconds, in_flight=IN_FLIGHT)
    return Run(answer["per_s"] * NOTIFICATIONS * PEOPLE, answer["cpu"])


def _order(bearer: tuple[str, str], target: str) -> Answer:
    items = [
        draft(
            type="push",
            user_ids=[f"user{number:06d}" for number in range(start, start + PEOPLE)],
            title="New Message",
            message="You have a new message from John",
            action_url="/messages/123",
        )
        for start in range(0, NOTIFICATIONS * PEOPLE, PEOPLE)
    ]
    body = SendBulkNotificationsRequest(notifications=items).SerializeToString()
    return {
        "target": target,
        "method": METHOD,
        "body": base64.b64encode(body).decode(),
        "metadata": [bearer],
        "in_flight": IN_FLIGHT,
    }


def _figures(pairs: Sequence[tuple[Run, Run]]) -> list[Figure]:
    reached = middle([ours.recipients_per_s for ours, _ in pairs])
    bare = middle([peer.recipients_per_s for _, peer in pairs])
    share = ratio([(ours.recipients_per_s, peer.recipients_per_s) for ours, peer in pairs])
    load = middle([ours.load_cpu for ours, _ in pairs])
    slow = middle([ours.p99_ms for ours, _ in pairs])
    return [
        Figure(
            f"accept, bulk, {NOTIFICATIONS * PEOPLE:,} people a call",
            f"{reached:,.0f} people/s",
            f"{bare:,.0f}/s, bare atomic batches",
            f"{share:.0%}",
            f"≥ {RECIPIENTS_LEAST:,}/s",
            reached >= RECIPIENTS_LEAST,
            f"load {load:.2f} of a core; p99 of a call {slow:.0f} ms",
        )
    ]
