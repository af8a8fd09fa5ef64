"""The same suite for programs that speak gRPC, through the gateway's one port."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from crown.notification.v1.ingest_service_pb2 import (
    GetNotificationRequest,
    SendBulkNotificationsRequest,
    SendNotificationRequest,
)
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.realtime_service_pb2 import PublishRequest, SubscribeRequest
from crown.notification.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from crown.notification.v1.status_service_pb2 import GetReadinessRequest
from crown.notification.v1.status_service_pb2_grpc import StatusServiceStub
from crown.notification.v1.types_pb2 import Channel, DeliveryState, NotificationStatus
from stack.control import Stack
from tests.e2e.arrivals import Ledger
from tests.e2e.contract import RPCS
from tests.e2e.people import TITLE, People, Person
from tests.e2e.remarks import details, violations
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

LIMIT_S = 10.0
SERVICES = {rpc.method.containing_service.full_name for rpc in RPCS}
PROCESSES = sorted({rpc.process for rpc in RPCS})
SERVING = health_pb2.HealthCheckResponse.SERVING


async def test_send_and_ask(feed: Caller, channel: grpc.aio.Channel, person: Person, ledger: Ledger) -> None:
    stub = IngestServiceStub(channel)
    request = SendNotificationRequest(type=Channel.PUSH, user_id=person.user_id)
    request.data.title = TITLE
    sent = await stub.SendNotification(request, metadata=feed.metadata, timeout=LIMIT_S)
    assert sent.status == NotificationStatus.ACCEPTED
    assert (await ledger.effect(sent.notification_id))["recipient"] == person.device_token
    await feed.settled(sent.notification_id)
    asked = GetNotificationRequest(notification_id=sent.notification_id)
    found = await stub.GetNotification(asked, metadata=feed.metadata, timeout=LIMIT_S)
    (delivery,) = found.notification.deliveries
    assert delivery.state == DeliveryState.DELIVERED_TO_PROVIDER


async def test_bulk(feed: Caller, channel: grpc.aio.Channel, people: People) -> None:
    good = SendNotificationRequest(type=Channel.IN_APP, user_id=people.stranger().user_id)
    good.data.title = TITLE
    request = SendBulkNotificationsRequest(notifications=[good, SendNotificationRequest()])
    answer = await IngestServiceStub(channel).SendBulkNotifications(
        request, metadata=feed.metadata, timeout=LIMIT_S
    )
    first, second = answer.results
    assert first.status == NotificationStatus.ACCEPTED
    assert second.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_list(feed: Caller, channel: grpc.aio.Channel, people: People) -> None:
    person = people.stranger()
    sent = [await feed.send("in_app", user_id=person.user_id, data={"title": TITLE}) for _ in range(3)]
    for one in sent:
        await feed.settled(one)
    request = ListNotificationsRequest(user_id=person.user_id, limit=2)
    page = await InboxServiceStub(channel).ListNotifications(
        request, metadata=person.caller.metadata, timeout=LIMIT_S
    )
    assert [entry.data.title for entry in page.notifications] == [TITLE, TITLE]
    assert (page.page, page.limit, page.total, bool(page.next_cursor)) == (1, 2, 3, True)


async def test_an_error_lists_every_violation(feed: Caller, channel: grpc.aio.Channel) -> None:
    request = SendNotificationRequest(user_id=" ", kind="No Kind")
    request.priority = 7  # type: ignore[assignment]
    request.data.title = "\n"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await IngestServiceStub(channel).SendNotification(request, metadata=feed.metadata, timeout=LIMIT_S)
    error = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = details(error)
    assert found[ErrorInfo].reason == "INVALID_REQUEST"
    assert found[RequestInfo].request_id
    assert violations(error).keys() == {"user_id", "kind", "priority", "data.title"}
    assert all(violation.reason for violation in found[BadRequest].field_violations)


async def test_subscribe_and_publish(
    feed: Caller, channel: grpc.aio.Channel, person: Person, rest: Rest
) -> None:
    stub = RealtimeServiceStub(channel)
    stream = stub.Subscribe(SubscribeRequest(user_id=person.user_id), metadata=person.caller.metadata)
    arrivals = aiter(stream)

    async def publish_until_heard() -> str:
        # Nobody tells when the subscription is in place: what comes before it is not heard.
        first = asyncio.ensure_future(anext(arrivals))
        request = PublishRequest(user_id=person.user_id, event="score")
        while not first.done():
            await stub.Publish(request, metadata=feed.metadata, timeout=LIMIT_S)
            await asyncio.wait([first], timeout=0.1)
        return (await first).event

    try:
        async with asyncio.timeout(LIMIT_S):
            assert await publish_until_heard() == "score"
            sent = await feed.send("real_time", user_id=person.user_id, data={"title": TITLE})
            async for arrival in arrivals:
                if arrival.event == "notification":
                    break
    finally:
        stream.cancel()
    assert (arrival.notification.notification_id, arrival.notification.data.title) == (sent, TITLE)
    assert arrival.epoch


async def test_readiness(channel: grpc.aio.Channel) -> None:
    answer = await StatusServiceStub(channel).GetReadiness(GetReadinessRequest(), timeout=LIMIT_S)
    assert {"email", "push", "sms", "realtime"} <= set(answer.ready)


@pytest.mark.parametrize("service", ["", *sorted(SERVICES)])
async def test_health_through_the_gateway(channel: grpc.aio.Channel, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    # What it tells of other processes is a second old.
    await until(lambda: stub.Check(request, timeout=LIMIT_S), lambda answer: answer.status == SERVING)


@pytest.mark.parametrize("process", PROCESSES)
async def test_each_process_tells_its_services(stack: Stack, process: str) -> None:
    own = {rpc.method.containing_service.full_name for rpc in RPCS if rpc.process == process}
    async with grpc.aio.insecure_channel(stack.address(process)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", *own):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=LIMIT_S)
            assert answer.status == SERVING, name


def test_reflection_describes_every_service(rest: Rest) -> None:
    with grpc.insecure_channel(rest.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        listed = set(database.get_services())
        assert {*SERVICES, "grpc.health.v1.Health"} <= listed
        pool = DescriptorPool(database)
        for rpc in RPCS:
            service = pool.FindServiceByName(rpc.method.containing_service.full_name)
            found = service.methods_by_name[rpc.method.name]
            assert found.input_type.full_name == rpc.method.input_type.full_name


async def test_rest_and_grpc_agree(feed: Caller, channel: grpc.aio.Channel, people: People) -> None:
    person = people.stranger()
    key = f"heron-{person.user_id}"
    by_rest = await feed.send("in_app", user_id=person.user_id, data={"title": TITLE}, idempotency_key=key)
    request = SendNotificationRequest(type=Channel.IN_APP, user_id=person.user_id, idempotency_key=key)
    request.data.title = TITLE
    sent = await IngestServiceStub(channel).SendNotification(request, metadata=feed.metadata, timeout=LIMIT_S)
    assert sent.notification_id == by_rest
    page = await until(lambda: person.caller.history(person.user_id), lambda found: found["total"])
    assert page["total"] == 1
