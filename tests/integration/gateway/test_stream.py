"""Server-sent events through the gateway: untouched, unhurried, uncut, and an end that an EventSource survives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from crown import problem
from crown.errors import NotReady, Unauthenticated

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.integration.gateway.conftest import Answers, Call, Context, Gateway

STREAM = "/api/v1/users/user123/notifications:stream"
EVENTS = {"accept": "text/event-stream"}
MIB = 1 << 20


def saying(*texts: bytes, pause_s: float = 0.0) -> Answers:
    """A stream of these."""

    async def serve(call: Call, context: Context) -> AsyncIterator[Message]:
        await context.send_initial_metadata((("cache-control", "no-store"),))
        for text in texts:
            yield HttpBody(content_type="text/event-stream", data=text)
            await asyncio.sleep(pause_s)

    return serve


def refusing(error: NotReady | Unauthenticated) -> Answers:
    """A stream that a service does not let begin."""

    async def serve(call: Call, context: Context) -> AsyncIterator[Message]:
        await context.abort(error.code, error.message, problem.trailers(error, "r"))
        yield HttpBody()

    return serve


@asynccontextmanager
async def reading(
    gateway: Gateway, path: str = STREAM, **headers: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    async with gateway.http.get(gateway.url + path, headers={**EVENTS, **headers}) as answer:
        yield answer


async def test_events_pass_as_they_are_and_at_once(gateway: Gateway) -> None:
    said = asyncio.Event()

    async def serve(call: Call, context: Context) -> AsyncIterator[Message]:
        yield HttpBody(content_type="text/event-stream", data=b": one\n\n")
        await said.wait()
        yield HttpBody(
            content_type="text/event-stream", data=b'id: e.7\nevent: x\ndata: {"a":"\xc3\xa4"}\n\n'
        )

    gateway.backend.streams["Stream"] = serve
    async with reading(gateway, authorization=f"Bearer {gateway.token()}") as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
        # The second is not there yet: nothing waits for more.
        assert await answer.content.readexactly(7) == b": one\n\n"
        said.set()
        assert (await answer.read()).decode() == 'id: e.7\nevent: x\ndata: {"a":"ä"}\n\n'


async def test_the_service_reads_the_token_and_where_to_go_on(gateway: Gateway) -> None:
    gateway.backend.streams["Stream"] = saying(b"x")
    token = gateway.token()
    async with reading(gateway, f"{STREAM}?access_token={token}", **{"last-event-id": "e.7"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"x")
        assert answer.headers["cache-control"] == "no-store"
    [call] = gateway.backend.calls
    assert call.message.access_token == token
    assert call.metadata["last-event-id"] == "e.7"
    assert "authorization" not in call.metadata
    assert token not in gateway.log.read_text()


async def test_it_may_last_a_day(gateway: Gateway) -> None:
    gateway.backend.streams["Stream"] = saying(b"x")
    async with reading(gateway, authorization=f"Bearer {gateway.token()}") as answer:
        await answer.read()
    # Not the 15 s of a call.
    assert gateway.backend.calls[0].deadline_s > 3600


async def test_it_may_say_more_than_an_answer_may_hold(gateway: Gateway) -> None:
    gateway.backend.streams["Stream"] = saying(*[b"x" * (MIB // 4)] * 80)
    async with reading(gateway, authorization=f"Bearer {gateway.token()}") as answer:
        assert len(await answer.read()) == 20 * MIB


async def test_a_refusal_before_it_begins_is_an_answer(gateway: Gateway) -> None:
    missing = Unauthenticated("a token is required", reason="TOKEN_MISSING")
    gateway.backend.streams["Stream"] = refusing(missing)
    reply = await gateway.send("GET", STREAM, token=None, headers=EVENTS)
    assert (reply.status, reply.json["code"]) == (401, 16)
    assert reply.json["details"][0]["reason"] == "TOKEN_MISSING"


@pytest.mark.parametrize(
    "path", ["/api/v1/users/user123/notifications", f"{STREAM}/x", "/api/v1/notifications"]
)
async def test_no_other_path_passes_without_a_header(gateway: Gateway, path: str) -> None:
    reply = await gateway.send("GET", f"{path}?access_token={gateway.token()}", token=None)
    assert reply.status in {401, 404, 405}
    assert gateway.backend.calls == []


async def test_over_grpc_a_header_is_asked_for(gateway: Gateway) -> None:
    async with gateway.channel() as channel:
        call: Any = channel.unary_stream("/crown.notification.v1.RealtimeService/Stream")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"").read()
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_while_the_service_is_away_an_event_says_so(gateway: Gateway) -> None:
    """After a 503 an EventSource would never come back."""
    async with gateway.backend.without("REALTIME_ADDRESS"):
        async with reading(gateway, origin="https://app.example") as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            lines = (await answer.text()).split("\n")
        plain = await gateway.send("GET", STREAM)
    assert (lines[0], lines[2:]) == ("event: error", ["", "retry: 1000", ""])
    error = json.loads(lines[1].removeprefix("data: "))
    assert (error["code"], error["details"][0]["reason"]) == (14, "NOT_READY")
    assert error["details"][1]["request_id"] == answer.headers["x-request-id"]
    assert plain.status == 503


async def test_another_answer_stays_an_error_though_it_is_asked_for_as_events(gateway: Gateway) -> None:
    async with gateway.backend.without("INGEST_ADDRESS"):
        reply = await gateway.send("GET", "/api/v1/users/user123/notifications", headers=EVENTS)
    assert reply.status == 503


async def test_other_pages_may_listen_where_they_are_named(gateway: Gateway) -> None:
    gateway.backend.streams["Stream"] = saying(b"x")
    token = f"?access_token={gateway.token()}"
    for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
        async with reading(gateway, STREAM + token, origin=origin) as answer:
            assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)


@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("HEAD", 405)])
async def test_it_is_read_and_nothing_else(gateway: Gateway, method: str, status: int) -> None:
    reply = await gateway.send(method, STREAM, headers={"content-type": "application/json"})
    assert (reply.status, reply.headers["allow"]) == (status, "GET")
