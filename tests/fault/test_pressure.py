"""More than the suite can do: what it takes stays what it can do, the rest is refused at once, and what is urgent
goes past what is not."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest

from crown.client.draft import draft
from crown.notification.v1 import ingest_service_pb2_grpc as ingest_grpc
from crown.notification.v1.ingest_service_pb2 import (
    SendBulkNotificationsRequest,
    SendNotificationRequest,
)
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, Priority
from stack.control import Stack
from tests.fault.lags import Lag, Lags
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(400)

SEED = 1
# Callers that ask again as soon as they have an answer: as many as keep it busy, and multiples of what Envoy lets in.
BUSY = 128
OVER = (1_500, 3_000)
MEASURED_S = 8.0
# A caller that is refused waits so long, as it is told to.
REFUSED_PAUSE_S = 2.0
ANSWER_MOST_S = 10.0
# A no, of nearly all who hear one, on a machine that does what it can.
REFUSED_MOST_S = 2.0
GOODPUT_LEAST = 0.8
# Of what was accepted: calls that ended without an answer that says what became of them.
UNCLEAR_MOST = 0.01
RECOVERED_S = 10.0
# Marketing that waits when urgent things come.
MARKETING = 8_000
ALERTS = 50
ALERTS_A_S = 10.0
# So that the marketing takes longer than the alerts.
PROVIDER_DELAY_S = 0.2
SLOWER_MOST = 2.0
# CROWN_IN_FLIGHT's default.
IN_FLIGHT = 128
NOISE_S = 0.5
CALM = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(29_800, people=100, given={"CROWN_EMAIL_PROVIDERS": "sendgrid"})


@dataclass
class Count:
    """What became of the calls of a crowd; durations in seconds."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


async def test_what_is_too_much_is_refused_at_once_and_the_rest_is_done(
    stack: Stack, scene: Site, results: list[Result]
) -> None:
    calm = await _crowd(stack, BUSY)
    capacity = len(calm.accepted) / MEASURED_S
    for callers in OVER:
        over = await _crowd(stack, callers)
        began = time.monotonic()
        after = await _crowd(stack, 16, seconds=2.0)
        refused = Lag.of(over.refused)
        results.append(
            Result(
                fault=f"{callers:,} callers at once, {BUSY} before",
                rate=len(over.accepted) / MEASURED_S,
                asked=len(over.accepted) + len(over.refused) + len(over.other),
                accepted=len(over.accepted),
                refused=refused.count,
                recover_s=time.monotonic() - began,
                answers=Lags(Lag.of(calm.accepted), Lag.of(over.accepted), Lag.of(after.accepted)),
            )
        )
        assert len(over.other) <= UNCLEAR_MOST * len(over.accepted), over.other[:5]
        assert len(over.accepted) / MEASURED_S >= GOODPUT_LEAST * capacity
        assert refused.count, "it was not too much: this shows nothing"
        assert refused.p99_s <= REFUSED_MOST_S
        assert after.accepted
        assert time.monotonic() - began <= RECOVERED_S
        assert not after.refused
    assert not any(one.restarts for one in stack.status())
    assert not await scene.quiet([], 240)


async def _crowd(stack: Stack, callers: int, seconds: float = MEASURED_S) -> Count:
    """Each asks again as soon as it was answered, and pauses where it was refused."""
    count = Count()
    request = SendNotificationRequest(
        type=Channel.IN_APP, user_id="fan-1", data=NotificationData(title="Hello", message="Hello")
    )
    metadata = (("authorization", f"Bearer {stack.token(service='feed')}"),)
    gateway = f"127.0.0.1:{stack.settings.ports.gateway}"
    ends = time.monotonic() + seconds

    async def call(stub: ingest_grpc.IngestServiceAsyncStub) -> None:
        while time.monotonic() < ends:
            began = time.monotonic()
            try:
                await stub.SendNotification(request, metadata=metadata, timeout=ANSWER_MOST_S)
            except grpc.aio.AioRpcError as error:
                took_s = time.monotonic() - began
                if error.code() not in CALM:
                    count.other.append(f"{error.code().name} {error.details()}")
                count.refused.append(took_s)
                await asyncio.sleep(REFUSED_PAUSE_S)
            else:
                count.accepted.append(time.monotonic() - began)

    # Envoy allows a hundred streams at once in each connection of its callers.
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [grpc.aio.insecure_channel(gateway, options) for _ in range(-(-callers // 100))]
    try:
        stubs = [ingest_grpc.IngestServiceStub(channel) for channel in channels]
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(call(stubs[number % len(stubs)]))
    finally:
        for channel in channels:
            await channel.close()
    return count


async def test_an_alert_goes_past_marketing(scene: Site, tmp_path: Path, results: list[Result]) -> None:
    stack = scene.stack
    await scene.begin(empty=True)
    await scene.slow_providers(PROVIDER_DELAY_S)
    idle = await _alerts(scene, "idle")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.settings.ports.gateway}") as channel:
        await _market(ingest_grpc.IngestServiceStub(channel), stack.token(service="feed"), scene)
    busy = await _alerts(scene, "busy")
    assert not await scene.quiet([], 240)
    evidence = await scene.evidence()
    arrived = {effect.notification_id: effect.time for effect in reversed(evidence.effects)}
    lags = [
        Lag.of(arrived[one] - began for one, began in sent.items() if one in arrived) for sent in (idle, busy)
    ]
    results.append(
        Result(
            fault=f"{MARKETING:,} marketing pushes, then {ALERTS} alerts",
            asked=2 * ALERTS,
            accepted=len(idle) + len(busy),
            lost=sum(one not in arrived for one in (*idle, *busy)),
            handed=Lags(lags[0], lags[1], Lag.of([])),
        )
    )
    assert all(one in arrived for one in (*idle, *busy))
    marketing = [effect.time for effect in evidence.effects if effect.notification_id not in {*idle, *busy}]
    assert len(marketing) == MARKETING
    assert max(marketing) > max(busy.values()), "it had gone before the alerts came: this shows nothing"
    # An alert waits for a place among what the worker has at the provider, and for nothing of what waits.
    place_s = IN_FLIGHT * (max(marketing) - min(marketing)) / MARKETING
    assert lags[1].p99_s <= lags[0].p99_s * SLOWER_MOST + place_s + NOISE_S


async def _market(stub: ingest_grpc.IngestServiceAsyncStub, token: str, scene: Site) -> None:
    """So many pushes to people in turn, in the lane for what can wait."""
    users = [one.user for one in scene.people]
    items = [
        draft(type="push", user_ids=users, title="Boots", message=f"{number}", priority="bulk")
        for number in range(MARKETING // len(users))
    ]
    metadata = (("authorization", f"Bearer {token}"),)
    answer = await stub.SendBulkNotifications(
        SendBulkNotificationsRequest(notifications=items), metadata=metadata, timeout=60
    )
    assert not any(result.HasField("error") for result in answer.results)


async def _alerts(scene: Site, name: str) -> dict[str, float]:
    """When each was sent, in seconds since 1970, by its id."""
    stack = scene.stack
    metadata = (("authorization", f"Bearer {stack.token(service='feed')}"),)
    sent: dict[str, float] = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.settings.ports.gateway}") as channel:
        stub = ingest_grpc.IngestServiceStub(channel)
        for number in range(ALERTS):
            request = SendNotificationRequest(
                type=Channel.PUSH,
                user_id=scene.people[number % len(scene.people)].user,
                data=NotificationData(title="Signed in", message=f"{name} {number}"),
                category=Category.SECURITY,
                priority=Priority.CRITICAL,
            )
            began = time.time()
            answer = await stub.SendNotification(request, metadata=metadata, timeout=ANSWER_MOST_S)
            sent[answer.notification_id] = began
            await asyncio.sleep(1 / ALERTS_A_S)
    await asyncio.sleep(2)
    return sent
