"""What a calling service may send: refusals above its rate, and a lower lane above its share, on any replica."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from crown import ids, subjects
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.ingest_service_pb2 import (
    ExplainNotificationRequest,
    SendBulkNotificationsRequest,
    StreamItem,
    StreamNotificationsRequest,
)
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.types_pb2 import NotificationStatus, Priority
from services.ingest.intake.quota import Quota
from services.ingest.intake.rate import Rate
from tests.integration.api import Api, reason_of, request
from tests.integration.local import Local
from tests.integration.rig import Rig, Service, until

# So slow that nothing comes back while a test runs.
RATES = "slow=0.001/s:3,other=0.001/s:3,shared=0.001/s:10,crowd=0.001/s:100,away=0.001/s:5,keyless=0.001/s:1"
SETTINGS = {
    "CROWN_CALLER_RATES": RATES,
    "CROWN_NORMAL_RATE": "0.001/s:3",
    "CROWN_CRITICAL_RATE": "0.001/s:2",
}
LIMITED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
ACCEPTED = NotificationStatus.ACCEPTED


@pytest.fixture(scope="module")
async def replicas(rig: Rig) -> AsyncIterator[tuple[Service, Service]]:
    """Two replicas of the API."""
    async with rig.running("api", **SETTINGS) as one, rig.running("api", **SETTINGS) as two:
        yield one, two


@pytest.fixture
def stub(replicas: tuple[Service, Service]) -> Any:
    """One of them."""
    return IngestServiceStub(replicas[0].channel)


# -- refusals


async def test_above_its_rate_a_caller_is_told_when_to_come_back(
    rig: Rig, replicas: tuple[Service, Service]
) -> None:
    api = Api(rig, replicas[0], "slow")
    for _ in range(3):
        await api.send()
    code, reason, after_s = await api.refused()
    assert (code, reason) == LIMITED
    # One comes back in a thousand seconds.
    assert after_s is not None
    assert 900 < after_s <= 1_000
    # Others are none the worse for it.
    await Api(rig, replicas[0], "feed").send()


async def test_answers_tell_how_much_is_left(rig: Rig, replicas: tuple[Service, Service], stub: Any) -> None:
    api = Api(rig, replicas[0], "other")

    async def headers() -> dict[str, Any]:
        call = stub.SendNotification(request(), metadata=api.metadata(), timeout=10)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return dict(error.trailing_metadata() or ())
        return dict(await call.initial_metadata())

    told = [await headers() for _ in range(4)]
    assert [found["ratelimit"].split(";t=")[0] for found in told] == [
        f'"default";r={n}' for n in (2, 1, 0, 0)
    ]
    assert {found["ratelimit-policy"] for found in told} == {'"default";q=3;w=3000'}
    assert all(re.fullmatch(r'"default";r=\d;t=\d+', found["ratelimit"]) for found in told)
    unbound = Api(rig, replicas[0], "feed")
    call = stub.SendNotification(request(), metadata=unbound.metadata(), timeout=10)
    await call
    assert "ratelimit" not in dict(await call.initial_metadata())


async def test_people_count_and_each_item_has_its_own_answer(
    rig: Rig, replicas: tuple[Service, Service], stub: Any
) -> None:
    api = Api(rig, replicas[0], "crowd")
    sixty = [f"user{n}" for n in range(60)]
    results = await api.bulk(
        request(user_ids=sixty), request(user_id="a b"), request(user_ids=sixty), request()
    )
    assert results[0].status == results[3].status == ACCEPTED
    assert [reason_of(result.error) for result in results[1:3]] == ["INVALID_REQUEST", "RATE_LIMITED"]
    stream = stub.StreamNotifications(metadata=api.metadata(), timeout=20)
    items = [StreamItem(notification=request(user_ids=sixty[:count])) for count in (30, 30, 9)]
    await stream.write(StreamNotificationsRequest(items=items))
    await stream.done_writing()
    answer = await stream.read()
    assert [result.status for result in answer.results] == [ACCEPTED, 0, ACCEPTED]
    assert reason_of(answer.results[1].error) == "RATE_LIMITED"
    assert any(part.TypeName() == "google.rpc.RetryInfo" for part in answer.results[1].error.details)
    assert await stream.read() is grpc.aio.EOF
    # Where there is room for none, the call as a whole is refused.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.SendBulkNotifications(
            SendBulkNotificationsRequest(notifications=[request()]), metadata=api.metadata(), timeout=10
        )
    assert caught.value.code() is LIMITED[0]


async def test_what_was_refused_takes_no_key(rig: Rig, replicas: tuple[Service, Service]) -> None:
    api = Api(rig, replicas[0], "keyless")
    kept = await api.send(key="kept")
    assert (await api.refused(key="refused"))[:2] == LIMITED
    refused = ids.keyed_notification("keyless", "SendNotification", "refused", 0)
    assert await rig.redis.keys(f"*{kept}*")
    assert not await rig.redis.keys(f"*{refused}*")


async def test_replicas_share_a_rate(rig: Rig, replicas: tuple[Service, Service]) -> None:
    one, two = (Api(rig, replica, "shared") for replica in replicas)
    for _ in range(6):
        await one.send()
    for _ in range(3):
        await two.send()

    async def left() -> int:
        return round(float(await rig.redis.hget("crown:quota:calls:shared", "level") or 10))

    await until(left, lambda found: found == 1)
    # Whichever replica says no has learnt of the other.
    refused = 0
    while not refused:
        for api in (one, two):
            try:
                await api.send()
            except grpc.aio.AioRpcError:
                refused += 1
    # What both let through before they knew is owed.
    assert await left() <= 1


async def test_accepting_never_waits_for_redis(rig: Rig, replicas: tuple[Service, Service]) -> None:
    api = Api(rig, replicas[0], "away")
    async with rig.suspended("valkey"):
        for _ in range(5):
            await api.send(timeout_s=2)
        # It keeps to the rate by itself.
        assert (await api.refused(timeout_s=2))[:2] == LIMITED


# -- buckets of several processes


async def test_processes_learn_of_each_other(rig: Rig) -> None:
    rates = {"*": Rate(0.001, 100)}
    quotas = [Quota(rates, {}, rig.redis) for _ in range(3)]
    for quota in quotas:
        assert quota.refusal("learning", 30) is None
    for quota in quotas:
        await quota.share()
    await quotas[0].share()
    refused = quotas[0].refusal("learning", 20)
    assert refused is not None
    assert refused.retry_after_s == pytest.approx(10_000, rel=0.01)
    assert quotas[0].refusal("learning", 10) is None
    assert quotas[0].refusal("another", 100) is None


async def test_what_nobody_uses_is_forgotten(rig: Rig) -> None:
    now = 0.0
    quota = Quota({"*": Rate(10, 100)}, {}, rig.redis, lambda: now)
    assert quota.refusal("passing", 100) is None
    await quota.share()
    assert await rig.redis.pttl("crown:quota:calls:passing") <= 11_000
    now = 60.0
    await rig.redis.delete("crown:quota:calls:passing")
    await quota.share()
    assert quota._buckets == {}


async def test_while_redis_is_away_each_keeps_to_the_rate(rig: Rig) -> None:
    nowhere: Redis = Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=1)
    quota = Quota({"*": Rate(0.001, 10)}, {}, nowhere)
    assert quota.refusal("alone", 10) is None
    await quota.share()
    assert quota.refusal("alone", 1) is not None
    await nowhere.aclose()


# -- lanes


async def lanes(local: Local, sender: str) -> dict[str, list[Any]]:
    """Of what this caller sent: the lane that each was meant for, by the lane that it travels on."""
    found: dict[str, list[Any]] = {}
    for lane in subjects.LANES.values():
        raw = await local.stored(subjects.intake_stream(lane), subjects.intake(lane))
        events = [IntakeEvent.FromString(one) for one in raw]
        of_theirs = [event for event in events if event.sender == sender]
        assert all(subjects.LANES[event.priority] == lane for event in of_theirs)
        if of_theirs:
            found[lane] = [subjects.LANES.get(event.demoted_from) for event in of_theirs]
    return found


async def test_above_its_share_a_caller_goes_by_the_next_lane(
    rig: Rig, replicas: tuple[Service, Service], local: Local
) -> None:
    api = Api(rig, replicas[0], "lanes")
    before = await replicas[0].metric("crown_demoted_total")
    for _ in range(4):
        await api.send(priority="CRITICAL")
    for _ in range(3):
        await api.send()
    assert await lanes(local, "lanes") == {
        "critical": [None, None],
        # What was demoted counts here as well.
        "normal": ["critical", "critical", None],
        "bulk": ["normal", "normal"],
    }
    assert await replicas[0].metric("crown_demoted_total") == before + 4
    # Nobody else goes slower.
    await Api(rig, replicas[0], "calm").send()
    assert await lanes(local, "calm") == {"normal": [None]}


async def test_the_timeline_tells_of_it(
    rig: Rig, replicas: tuple[Service, Service], local: Local, stub: Any
) -> None:
    api = Api(rig, replicas[0], "told")
    sent = [await api.send(user_id=local.somebody()) for _ in range(4)]
    async with local.dispatching():
        for notification_id in sent:
            await until(partial(local.rows, notification_id))
    reasons = []
    for notification_id in (sent[0], sent[3]):
        story = await stub.ExplainNotification(
            ExplainNotificationRequest(notification_id=notification_id), metadata=api.metadata(), timeout=10
        )
        reasons.append(story.entries[0].reason)
    assert reasons == ["", "DEMOTED: NORMAL"]
    (row,) = await local.rows(sent[3])
    assert row["lane"] == Priority.BULK


async def test_a_retry_on_another_lane_is_still_one_notification(
    rig: Rig, replicas: tuple[Service, Service], local: Local
) -> None:
    api, person = Api(rig, replicas[0], "retrying"), local.somebody()
    sent = {await api.send(key="moved", type="PUSH", user_id=person) for _ in range(5)}
    assert len(sent) == 1
    assert set(await lanes(local, "retrying")) == {"normal", "bulk"}
    async with local.dispatching():
        await until(lambda: local.rows(next(iter(sent))))
        await local.dispatched()
    (row,) = await local.rows(sent.pop())
    stored = [
        raw
        for lane in ("normal", "bulk")
        for raw in await local.stored(f"DELIVERY_{lane}", subjects.delivery("push", lane))
    ]
    assert sum(row["deliveries"]["push"]["id"].encode() in raw for raw in stored) == 1


async def test_a_burst_of_one_caller_does_not_delay_another(
    rig: Rig, replicas: tuple[Service, Service], local: Local, stub: Any
) -> None:
    """As a public service once had it: one team sent 50,000, and everybody's messages stood behind them."""
    burst, calm = Api(rig, replicas[0], "burst"), Api(rig, replicas[1], "calm-2")
    stream = stub.StreamNotifications(metadata=burst.metadata(), timeout=100)

    async def talk() -> None:
        for frame in range(100):
            items = [
                StreamItem(notification=request(user_id=f"burst{n}"))
                for n in range(frame * 500, frame * 500 + 500)
            ]
            await stream.write(StreamNotificationsRequest(items=items))
        await stream.done_writing()

    counted = await _counts(rig)
    talking = asyncio.create_task(talk())
    accepted = 0
    while (answer := await stream.read()) is not grpc.aio.EOF:
        accepted += sum(result.status == ACCEPTED for result in answer.results)
    await talking
    assert accepted == 50_000
    # Limits are kept by counting up, never by asking the store how many there were.
    assert await _counts(rig) == counted
    bulk = subjects.dispatcher("bulk")
    async with local.dispatching():
        for _ in range(3):
            sent = await calm.send(user_id=local.somebody())
            await until(partial(local.rows, sent), within_s=60)
        assert await local.backlog(bulk) > 25_000


async def _counts(rig: Rig) -> list[int]:
    """How many counts and aggregations the store has been asked for."""
    commands = (await rig.mongo.admin.command("serverStatus"))["metrics"]["commands"]
    return [commands[name]["total"] for name in ("count", "aggregate")]
