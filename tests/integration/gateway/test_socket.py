"""WebSockets pass at /socket/ and nowhere else, as many as the service can hold, and leave no token in the log."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

SOCKETS = 1_200
SOCKET = "/socket/websocket?vsn=2.0.0"


async def test_a_socket_passes_without_a_token(gateway: Gateway) -> None:
    claimed = {"x-user-id": "evil", "x-forwarded-for": "6.6.6.6", "x-envoy-external-address": "6.6.6.6"}
    async with gateway.http.ws_connect(f"{gateway.url}{SOCKET}&token=t", headers=claimed) as socket:
        seen = await socket.receive_json(timeout=5)
        assert seen["path"] == f"{SOCKET}&token=t"
        assert "evil" not in str(seen["headers"])
        assert "6.6.6.6" not in str(seen["headers"])
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "hello"


@pytest.mark.parametrize(
    "path", ["/healthz", "/api/v1/users/u1/notifications", "/", "/grpc.health.v1.Health/Watch"]
)
async def test_no_other_path_is_upgraded(gateway: Gateway, path: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await gateway.http.ws_connect(gateway.url + path, headers=dict(gateway.bearer()))
    assert refused.value.status == 403
    assert gateway.backend.calls == []


async def test_the_socket_path_is_for_sockets(gateway: Gateway) -> None:
    reply = await gateway.send("GET", SOCKET, token=None)
    assert (reply.status, reply.json["code"]) == (426, 3)


async def test_more_sockets_pass_than_envoy_lets_by_itself(gateway: Gateway) -> None:
    at_once = asyncio.Semaphore(100)
    opened: list[aiohttp.ClientWebSocketResponse] = []

    async def use() -> str:
        async with at_once:
            socket = await gateway.http.ws_connect(
                gateway.url + SOCKET, timeout=aiohttp.ClientWSTimeout(ws_close=1)
            )
            opened.append(socket)
        await socket.receive(timeout=10)
        await socket.send_str("x")
        return str(await socket.receive_str(timeout=10))

    try:
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(use() for _ in range(SOCKETS))) == ["x"] * SOCKETS
    finally:
        await asyncio.gather(*(socket.close() for socket in opened))


async def logged(gateway: Gateway, request_id: str) -> dict[str, Any]:
    """The line of the access log about a request, once it is written."""
    async with asyncio.timeout(5):
        while True:
            for line in gateway.log.read_text().splitlines():
                if request_id in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
            await asyncio.sleep(0.05)


async def test_the_log_holds_no_query_and_no_token(gateway: Gateway) -> None:
    token = gateway.token()
    reply = await gateway.send("GET", "/api/v1/users/u1/notifications?limit=77&cursor=secret", token=token)
    line = await logged(gateway, reply.headers["x-request-id"])
    assert line["path"] == "/api/v1/users/u1/notifications"
    assert (line["method"], line["status"], line["grpc_status"]) == ("GET", 200, "OK")
    assert line["subject"] == "user123"
    text = gateway.log.read_text()
    assert token not in text
    assert "secret" not in text
    assert "limit=77" not in text
