"""gRPC and gRPC-Web through the gateway: untouched, streams uncut, reflection and health open."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from crown.notification.v1 import (
    inbox_service_pb2,
    inbox_service_pb2_grpc,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    realtime_service_pb2,
    realtime_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from tests.integration.gateway.conftest import Call, Context, Gateway

LIST = "/crown.notification.v1.InboxService/ListNotifications"
WANTED = inbox_service_pb2.ListNotificationsRequest(user_id="u1", limit=3)


async def test_passes_a_call_with_its_deadline_and_metadata(gateway: Gateway) -> None:
    async with gateway.channel() as channel:
        metadata = (*gateway.bearer(), ("idempotency-key", "k"), ("x-user-id", "evil"))
        await inbox_service_pb2_grpc.InboxServiceStub(channel).ListNotifications(
            WANTED, metadata=metadata, timeout=5
        )
    [call] = gateway.backend.calls
    assert (call.address, call.message) == ("INGEST_ADDRESS", WANTED)
    assert call.metadata["idempotency-key"] == "k"
    assert "x-user-id" not in call.metadata
    assert 4 < call.deadline_s < 5.2


async def test_passes_an_error_as_it_is(gateway: Gateway) -> None:
    async def refuse(call: Call, context: Context) -> None:
        trailers = (("grpc-status-details-bin", b"\x08\x0e\x12\x02no"), ("retry-after", "3"))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no", trailing_metadata=trailers)

    gateway.backend.answers["ListNotifications"] = refuse
    async with gateway.channel() as channel:
        inbox = inbox_service_pb2_grpc.InboxServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await inbox.ListNotifications(WANTED, metadata=gateway.bearer())
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNAVAILABLE, "no")
    trailers = dict(refused.value.trailing_metadata())
    assert trailers["grpc-status-details-bin"] == b"\x08\x0e\x12\x02no"
    assert trailers["retry-after"] == "3"


async def test_streams_item_by_item(gateway: Gateway) -> None:
    async def three(call: Call, context: Context) -> AsyncIterator[Message]:
        for offset in range(1, 4):
            yield realtime_service_pb2.SubscribeResponse(offset=offset)
            await asyncio.sleep(0.2)

    gateway.backend.streams["Subscribe"] = three
    async with gateway.channel() as channel:
        live = realtime_service_pb2_grpc.RealtimeServiceStub(channel)
        wanted = realtime_service_pb2.SubscribeRequest(user_id="u1")
        offsets = [item.offset async for item in live.Subscribe(wanted, metadata=gateway.bearer())]
    assert offsets == [1, 2, 3]
    # The limit of a stream is a day, not the 15 s of a call.
    assert gateway.backend.calls[0].deadline_s > 3600


async def test_a_stream_both_ways_goes_on_as_long_as_its_caller(gateway: Gateway) -> None:
    async with gateway.channel() as channel:
        stub = ingest_service_pb2_grpc.IngestServiceStub(channel)
        stream = stub.StreamNotifications(metadata=gateway.bearer())
        for name in ("a", "b"):
            # Each is answered before the next one is sent: nothing waits for the end.
            item = ingest_service_pb2.StreamItem(item_id=name)
            await stream.write(ingest_service_pb2.StreamNotificationsRequest(items=[item]))
            answer = await stream.read()
            assert isinstance(answer, ingest_service_pb2.StreamNotificationsResponse)
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK
    assert [call.message.items[0].item_id for call in gateway.backend.calls] == ["a", "b"]
    assert {call.address for call in gateway.backend.calls} == {"INGEST_ADDRESS"}
    assert gateway.backend.calls[0].deadline_s > 3600


async def test_reflection_and_health_and_readiness_need_no_token(gateway: Gateway) -> None:
    async with gateway.channel() as channel:
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked)
        listed = [s.name for s in (await answers.read()).list_services_response.service]
        assert "crown.notification.v1.InboxService" in listed
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        await status_service_pb2_grpc.StatusServiceStub(channel).GetReadiness(
            status_service_pb2.GetReadinessRequest()
        )


@pytest.mark.parametrize(
    "path",
    [
        "/crown.notification.v1.InboxService/Nothing",
        "/crown.notification.v1.Nothing/Get",
        "/else.Where/Get",
        "/api/v1/notifications",
    ],
)
async def test_says_that_an_rpc_does_not_exist(gateway: Gateway, path: str) -> None:
    async with gateway.channel() as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", metadata=gateway.bearer())
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_an_rpc_takes_no_json(gateway: Gateway) -> None:
    assert (await gateway.send("POST", LIST, json={"user_id": "u1"})).status == 404
    assert gateway.backend.calls == []


async def test_serves_grpc_web(gateway: Gateway) -> None:
    message = WANTED.SerializeToString()
    frame = b"\0" + struct.pack(">I", len(message)) + message
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    reply = await gateway.send("POST", LIST, data=frame, headers=headers)
    assert reply.headers["content-type"].startswith("application/grpc-web")
    assert b"grpc-status:0" in reply.body
    assert gateway.backend.calls[0].message == WANTED
    refused = await gateway.send("POST", LIST, data=frame, headers=headers, token=None)
    assert refused.headers["grpc-status"] == "16"


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://app.example", True), ("https://evil.example", False)]
)
async def test_browsers_may_call_from_the_named_origins_only(
    gateway: Gateway, origin: str, allowed: bool
) -> None:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    preflight = await gateway.send("OPTIONS", "/api/v1/notifications", token=None, headers=asked)
    assert preflight.status == (200 if allowed else 405)
    listing = await gateway.send("GET", "/api/v1/users/u1/notifications", headers={"origin": origin})
    for reply in (preflight, listing):
        assert reply.headers.get("access-control-allow-origin") == (origin if allowed else None)
