"""What only the gateway may say of a caller: no such header of a client's gets to a service, by REST, gRPC, sockets
or polls, but as the gateway itself says it."""

from __future__ import annotations

import json

import pytest

from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from tests.integration.gateway.conftest import Gateway

EVIL = "6.6.6.6"
# Who somebody is, where they come from, what the gateway has found out or decided, and what only services say to it.
CLAIMS = (
    "x-user-id", "x-tenant-id", "x-crown-subject", "x-crown-status",
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-user",
    "x-forwarded-client-cert", "forwarded",
    "x-envoy-internal", "x-envoy-external-address", "x-envoy-original-path", "x-envoy-original-method",
    "x-envoy-upstream-rq-timeout-ms", "x-envoy-retry-on", "x-envoy-max-retries", "x-envoy-force-trace",
    "x-envoy-downstream-service-cluster", "x-envoy-attempt-count",
    "x-request-id", "cookie",
)  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
async def test_by_rest(gateway: Gateway, name: str) -> None:
    answer = await gateway.send("GET", "/api/v1/users/user123/notifications", headers={name: EVIL})
    assert answer.status == 200, answer
    (call,) = gateway.backend.calls
    assert EVIL not in call.metadata.get(name, "")


@pytest.mark.parametrize("name", CLAIMS)
async def test_by_grpc(gateway: Gateway, name: str) -> None:
    async with gateway.channel() as channel:
        await InboxServiceStub(channel).ListNotifications(
            ListNotificationsRequest(user_id="user123"),
            metadata=(*gateway.bearer(), (name, EVIL)),
            timeout=10,
        )
    (call,) = gateway.backend.calls
    assert EVIL not in call.metadata.get(name, "")


@pytest.mark.parametrize("name", CLAIMS)
async def test_by_a_socket(gateway: Gateway, name: str) -> None:
    async with gateway.http.ws_connect(f"{gateway.url}/socket/websocket", headers={name: EVIL}) as socket:
        seen = (await socket.receive_json(timeout=10))["headers"]
    assert EVIL not in seen.get(name, "")


@pytest.mark.parametrize("name", CLAIMS)
async def test_by_a_poll(gateway: Gateway, name: str) -> None:
    answer = await gateway.send("GET", "/socket/longpoll", headers={name: EVIL}, token=None)
    seen = {key.lower(): value for key, value in json.loads(answer.text)["headers"].items()}
    assert EVIL not in seen.get(name, "")


# What gRPC says of answers, of attempts, and of what a caller understands; and what others say of load.
GRPC = (
    "grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-internal-encoding-request", "grpc-tags-bin",
    "grpc-trace-bin", "grpc-previous-rpc-attempts", "grpc-retry-pushback-ms", "grpc-timeout",
    "grpc-accept-encoding", "te", "endpoint-load-metrics-bin", "lb-token",
)  # fmt: skip


@pytest.mark.parametrize("name", GRPC)
async def test_what_grpc_says_makes_no_fault_of_a_request(gateway: Gateway, name: str) -> None:
    answer = await gateway.send("GET", "/api/v1/users/user123/notifications", headers={name: "AAAA"})
    assert answer.status in {200, 400, 501}, answer
    assert answer.headers.get("grpc-status") in {None, "0"}
    if answer.status == 200:
        (call,) = gateway.backend.calls
        assert call.message.user_id == "user123"
