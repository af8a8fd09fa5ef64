"""The command line's own Phoenix client, against a server that answers by hand."""

from __future__ import annotations

import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stack.errors import StackError
from stack.phoenix import joined


async def answer(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    join_ref, ref, topic, event, _ = json.loads((await socket.receive()).data)
    assert event == "phx_join"
    good = request.query["token"] == "good"
    status = {"status": "ok", "response": {}} if good else {"status": "error", "response": {"reason": "no"}}
    await socket.send_json([join_ref, ref, topic, "phx_reply", status])
    await socket.send_json([None, None, topic, "notification", {"notification_id": "n"}])
    return socket


@pytest.fixture
async def server() -> TestServer:
    app = web.Application()
    app.router.add_get("/socket/websocket", answer)
    server = TestServer(app)
    await server.start_server()
    return server


async def test_what_comes_is_handed_over(server: TestServer) -> None:
    async with aiohttp.ClientSession() as http:
        async with joined(http, f"127.0.0.1:{server.port}", "ann", "good") as socket:
            assert [found async for found in socket] == [("notification", {"notification_id": "n"})]
    await server.close()


async def test_a_refused_join_says_why(server: TestServer) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(StackError, match="refused"):
            async with joined(http, f"127.0.0.1:{server.port}", "ann", "bad"):
                pass
    await server.close()


async def test_no_server_is_one_clear_line(server: TestServer) -> None:
    await server.close()
    async with aiohttp.ClientSession() as http:
        with pytest.raises(StackError, match="does not open"):
            async with joined(http, f"127.0.0.1:{server.port}", "ann", "good"):
                pass
