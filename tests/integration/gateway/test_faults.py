"""When a service is away, slow or dies: an answer at once that says whether to retry, and no second effect."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest

from crown.notification.v1 import sms_service_pb2, sms_service_pb2_grpc

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Call, Context, Gateway

SEND = "/api/v1/sms:send"


@contextlib.asynccontextmanager
async def impostor(port: int, *, hold_s: float) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Takes what comes, answers nothing and hangs up after `hold_s`. Gives the connections that it got."""
    taken: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)
        await reader.read(1)
        asyncio.get_running_loop().call_later(hold_s, writer.close)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield taken
    finally:
        server.close()
        for writer in taken:
            writer.close()


async def test_a_service_that_is_away_is_a_503_until_it_is_back(gateway: Gateway) -> None:
    async with gateway.backend.without("SMS_ADDRESS"):
        for _ in range(10):
            reply = await gateway.send("POST", SEND, json={})
            assert (reply.status, reply.json["code"]) == (503, 14)
            assert reply.headers["retry-after"] == "1"
            assert reply.json["details"][0]["reason"] == "NOT_READY"
            assert "127.0.0.1" not in reply.text
        assert (await gateway.send("POST", "/api/v1/email:send", json={})).status == 200
    assert (await gateway.send("POST", SEND, json={})).status == 200


async def test_a_grpc_caller_sees_unavailable(gateway: Gateway) -> None:
    async with gateway.backend.without("SMS_ADDRESS"), gateway.channel() as channel:
        sms = sms_service_pb2_grpc.SmsServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sms.SendSms(sms_service_pb2.SendSmsRequest(), metadata=gateway.bearer())
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1" not in (refused.value.details() or "")


async def test_a_process_that_is_not_there_leaves_its_calls_to_the_others(gateway: Gateway) -> None:
    path, body = "/api/v1/email:send", {"to": "ann@example.org", "data": {"title": "a", "message": "b"}}
    replies = [await gateway.send("POST", path, json=body) for _ in range(20)]
    assert [reply.status for reply in replies] == [200] * 20
    assert len(gateway.backend.calls) == 20


@pytest.mark.parametrize(
    ("headers", "tries"), [({}, 1), ({"idempotency-key": "k"}, 2)], ids=["plain", "with a key"]
)
async def test_a_service_that_dies_at_work_leaves_the_outcome_open(
    gateway: Gateway, headers: dict[str, str], tries: int
) -> None:
    async with gateway.backend.without("SMS_ADDRESS") as port, impostor(port, hold_s=0.05) as taken:
        reply = await gateway.send("POST", SEND, json={}, headers=headers)
    assert (reply.status, reply.json["code"]) == (504, 4)
    assert reply.json["details"][0]["reason"] == "OUTCOME_UNKNOWN"
    assert len(taken) == tries


async def test_a_service_that_hangs_is_given_up(gateway: Gateway) -> None:
    async with gateway.backend.without("SMS_ADDRESS") as port, impostor(port, hold_s=30):
        reply = await gateway.send("POST", SEND, json={}, headers={"grpc-timeout": "300m"})
    assert (reply.status, reply.json["code"]) == (504, 4)
    assert reply.json["details"][0]["reason"] == "OUTCOME_UNKNOWN"
    assert "Idempotency-Key" in reply.json["message"]


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 503), ({"idempotency-key": "k"}, 200)], ids=["plain", "with a key"]
)
async def test_tries_again_only_what_is_the_same_by_its_key(
    gateway: Gateway, headers: dict[str, str], status: int
) -> None:
    async def busy_once(call: Call, context: Context) -> None:
        if len(gateway.backend.calls) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")

    gateway.backend.answers["SendSms"] = busy_once
    assert (await gateway.send("POST", SEND, json={}, headers=headers)).status == status


async def test_what_is_too_much_is_refused_at_once_and_the_rest_is_answered(gateway: Gateway) -> None:
    """A service that is slow: calls beyond what may be under way do not wait behind the others."""
    free = asyncio.Event()

    async def slow(_call: Call, _context: Context) -> None:
        await free.wait()

    gateway.backend.answers["SendSms"] = slow
    most, more = 1_000, 50
    sends = [asyncio.create_task(gateway.send("POST", SEND, json={})) for _ in range(most + more)]
    refused = []
    for done in asyncio.as_completed(sends):
        refused.append(await done)
        if len(refused) == more:
            break
    free.set()
    replies = await asyncio.gather(*sends)
    assert {reply.status for reply in refused} == {503}
    assert Counter(reply.status for reply in replies) == {200: most, 503: more}
    for reply in refused:
        assert reply.json["details"][0]["reason"] == "OVERLOADED"
        assert reply.headers["retry-after"] == "1"
