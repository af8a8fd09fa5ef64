"""The gateway's step of each trace: the first one where a caller brings no context, else the next; and as the caller
decided."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from crown.notification.v1 import inbox_service_pb2, inbox_service_pb2_grpc

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

PATH = "/api/v1/users/heron/notifications"
SERVER = 2


async def test_begins_a_trace_for_a_rest_caller(gateway: Gateway) -> None:
    await gateway.send("GET", PATH)
    _, trace_id, span_id, flags = gateway.backend.calls[0].metadata["traceparent"].split("-")
    (span,) = await gateway.collector.named(trace_id, ["ingress"])
    assert (span.service, span.kind, span.parent, span.span_id) == ("gateway", SERVER, "", span_id)
    assert flags == "01"
    assert span.attributes["grpc.path"] == "/crown.notification.v1.InboxService/ListNotifications"
    assert gateway.collector.headers[-1]["x-key"] == "a b%"


async def test_goes_on_with_the_trace_of_a_grpc_caller(gateway: Gateway) -> None:
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    metadata = (*gateway.bearer(), ("traceparent", f"00-{trace_id}-{caller}-01"))
    async with gateway.channel() as channel:
        request = inbox_service_pb2.ListNotificationsRequest(user_id="u1")
        await inbox_service_pb2_grpc.InboxServiceStub(channel).ListNotifications(request, metadata=metadata)
    (span,) = await gateway.collector.named(trace_id, ["ingress"])
    assert span.parent == caller
    assert gateway.backend.calls[0].metadata["traceparent"] == f"00-{trace_id}-{span.span_id}-01"


async def test_keeps_to_what_a_caller_did_not_sample(gateway: Gateway) -> None:
    quiet, caller = secrets.token_hex(16), secrets.token_hex(8)
    await gateway.send("GET", PATH, headers={"traceparent": f"00-{quiet}-{caller}-00"})
    _, trace_id, _, flags = gateway.backend.calls[0].metadata["traceparent"].split("-")
    assert (trace_id, flags) == (quiet, "00")
    # What comes later is told of later.
    told = secrets.token_hex(16)
    await gateway.send("GET", PATH, headers={"traceparent": f"00-{told}-{caller}-01"})
    await gateway.collector.named(told, ["ingress"])
    assert gateway.collector.of(quiet) == []


@pytest.mark.parametrize(
    "path", ["/unsubscribe/heron-link", "/socket/websocket?token=heron-token", f"{PATH}?cursor=heron-cursor"]
)
async def test_tells_no_path_and_no_address(gateway: Gateway, path: str) -> None:
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    await gateway.send("GET", path, headers=headers)
    (span,) = await gateway.collector.named(trace_id, ["ingress"])
    assert "heron" not in repr(span)
    assert span.attributes["peer.address"] == "-"
