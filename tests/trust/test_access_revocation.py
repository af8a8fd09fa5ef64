"""Sessions that were ended: their tokens open nothing any more, at any door, whatever was asked with them before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from crown.notification.v1.ingest_service_pb2 import (
    SendNotificationRequest,
    StreamItem,
    StreamNotificationsRequest,
)
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Channel
from stack.control import Stack
from tests.e2e.contract import GUARDED, Rpc
from tests.e2e.forgery import signed
from tests.e2e.remarks import details
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until
from tests.trust import matrix

# Seconds after the answer to a Disconnect in which every process has to refuse. It takes some milliseconds.
WITHIN_S = 1.0
VICTIM = "revoked"
SESSION = "stolen"
PROCESSES = sorted({rpc.process for rpc in GUARDED})
# A call of each process that changes nothing, whoever makes it.
HARMLESS = {
    "ingest-api": "InboxService.GetUnreadCount",
    "push": "DeviceService.ListDevices",
    "realtime": "RealtimeService.GetPresence",
    "email": "TemplateService.ListTemplates",
    "sms": "SmsService.SendSms",
}
HARMLESS_RPCS = [rpc for rpc in GUARDED if HARMLESS[rpc.process] == rpc.name]

every_rpc = pytest.mark.parametrize("rpc", GUARDED, ids=lambda rpc: rpc.name)


def token(stack: Stack, session: str = SESSION, user_id: str = VICTIM, age_s: int = 5) -> str:
    """A token that is some seconds old: one of the second of its revocation stays good."""
    return signed(stack, use="user", sub=user_id, sid=session, iat=int(time.time()) - age_s)


async def disconnect(rest: Rest, user_id: str = VICTIM, session: str = "") -> None:
    body = {"session_id": session} if session else {}
    assert (await rest.operator.post(f"/api/v1/users/{user_id}:disconnect", body)).ok == {}


async def refused(rpc: Rpc, channel: grpc.aio.Channel, caller: Caller, user_id: str = VICTIM) -> str:
    """Why the caller is not believed; empty where they are."""
    error = await rpc.refused(channel, user_id, caller.metadata)
    if error is None or error.code() is not grpc.StatusCode.UNAUTHENTICATED:
        return ""
    return f"{details(error)[ErrorInfo].reason}: {error.details()}"


REVOKED = "TOKEN_INVALID: the token was revoked"


@pytest.fixture(scope="module")
async def direct(stack: Stack) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """Channels past the gateway."""
    async with AsyncExitStack() as channels:
        yield {name: await channels.enter_async_context(stack.channel(name)) for name in PROCESSES}


@pytest.fixture(scope="module")
async def thief(rest: Rest, direct: dict[str, grpc.aio.Channel]) -> Caller:
    """Who holds a token of a session that was ended, after it was good at each process."""
    stolen = rest.holder(token(rest.stack))
    for rpc in HARMLESS_RPCS:
        assert await refused(rpc, direct[rpc.process], stolen) == ""
    await disconnect(rest, session=SESSION)
    return stolen


def test_each_process_is_looked_at() -> None:
    assert sorted(rpc.process for rpc in HARMLESS_RPCS) == PROCESSES == sorted(HARMLESS)


@every_rpc
async def test_no_call_takes_it(
    thief: Caller, channel: grpc.aio.Channel, direct: dict[str, grpc.aio.Channel], rpc: Rpc
) -> None:
    for way in (channel, direct[rpc.process]):
        matrix.check("tokens that were revoked", await refused(rpc, way, thief), REVOKED, rpc.name)


@pytest.mark.parametrize("rpc", [rpc for rpc in GUARDED if rpc.rest], ids=lambda rpc: rpc.name)
async def test_no_path_takes_it(thief: Caller, rpc: Rpc) -> None:
    for verb, path in rpc.paths(VICTIM):
        answer = await thief.request(verb, path, None if verb in ("GET", "DELETE") else {})
        found = answer.problem
        got = (answer.status, f"{found.reason}: {found.message}")
        matrix.check("tokens that were revoked", got, (401, REVOKED), path)


async def test_other_sessions_go_on(rest: Rest, thief: Caller, direct: dict[str, grpc.aio.Channel]) -> None:
    others = (token(rest.stack, "laptop"), token(rest.stack, SESSION, "somebody"))
    for rpc in HARMLESS_RPCS:
        assert await refused(rpc, direct[rpc.process], thief) == REVOKED
        for other in others:
            assert await refused(rpc, direct[rpc.process], rest.holder(other)) == ""


async def test_logging_out_everywhere_takes_a_moment_at_every_process(
    rest: Rest, direct: dict[str, grpc.aio.Channel]
) -> None:
    everywhere = f"{VICTIM}-everywhere"
    caller = rest.holder(token(rest.stack, user_id=everywhere))
    for rpc in HARMLESS_RPCS:
        assert await refused(rpc, direct[rpc.process], caller, everywhere) == ""
    await disconnect(rest, everywhere)
    told = time.monotonic()

    async def until_refused(rpc: Rpc) -> float:
        await until(lambda: refused(rpc, direct[rpc.process], caller, everywhere), lambda why: why == REVOKED)
        return time.monotonic() - told

    took = await asyncio.gather(*map(until_refused, HARMLESS_RPCS))
    assert max(took) <= WITHIN_S, took
    # Who logs in again is let in.
    again = rest.holder(token(rest.stack, user_id=everywhere, age_s=0))
    for rpc in HARMLESS_RPCS:
        assert await refused(rpc, direct[rpc.process], again, everywhere) == ""


@pytest.mark.parametrize(("use", "noun"), [("service", "services"), ("operator", "operators")])
async def test_a_service_or_an_operator_is_out_as_well(
    rest: Rest, channel: grpc.aio.Channel, direct: dict[str, grpc.aio.Channel], use: str, noun: str
) -> None:
    def holder(name: str, age_s: int = 5) -> Caller:
        return rest.holder(signed(rest.stack, use=use, sub=name, iat=int(time.time()) - age_s))

    name = f"pumped-{use}"
    stolen, namesake, other = holder(name), rest.holder(token(rest.stack, user_id=name)), holder("other")
    for rpc in HARMLESS_RPCS:
        assert await refused(rpc, direct[rpc.process], stolen, name) == ""
    assert (await rest.operator.post(f"/api/v1/{noun}/{name}:revokeTokens", {})).ok == {}
    for rpc in HARMLESS_RPCS:
        await until(
            partial(refused, rpc, direct[rpc.process], stolen, name), lambda why: why == REVOKED, WITHIN_S
        )
        for good in (namesake, other, holder(name, age_s=0)):
            assert await refused(rpc, direct[rpc.process], good, name) == ""
    for rpc in GUARDED:
        for way in (channel, direct[rpc.process]):
            matrix.check("tokens that were revoked", await refused(rpc, way, stolen), REVOKED, rpc.name)


async def test_what_a_service_and_an_operator_have_opened_ends(rest: Rest, channel: grpc.aio.Channel) -> None:
    issued = int(time.time()) - 5
    service = rest.holder(signed(rest.stack, use="service", sub="streaming", iat=issued))
    operator = rest.holder(signed(rest.stack, use="operator", sub="watching", iat=issued))
    streaming: Any = IngestServiceStub(channel).StreamNotifications(metadata=service.metadata, timeout=30)
    one = SendNotificationRequest(user_id="ann", channels=[Channel.IN_APP], data=NotificationData(title="Hi"))
    await streaming.write(StreamNotificationsRequest(items=[StreamItem(notification=one)]))
    assert len((await streaming.read()).results) == 1
    async with connected(rest, operator.token or "") as socket:
        assert (await rest.operator.post("/api/v1/services/streaming:revokeTokens", {})).ok == {}
        assert (await rest.operator.post("/api/v1/operators/watching:revokeTokens", {})).ok == {}
        assert await streaming.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await streaming.details() == "the token was revoked"
        message = await socket.receive(5)
        assert (message.data, message.extra) == (1001, "revoked")


def connected(rest: Rest, token: str) -> Any:
    """A raw socket through the gateway."""
    return rest.http.ws_connect(f"http://{rest.address}/socket/websocket?vsn=2.0.0&token={token}")


@pytest.mark.parametrize("name", PROCESSES)
async def test_a_process_that_starts_later_knows(
    stack: Stack, thief: Caller, direct: dict[str, grpc.aio.Channel], name: str
) -> None:
    pid = stack.kill(name)
    await asyncio.to_thread(stack.wait_healthy, name, pid)
    (rpc,) = [rpc for rpc in HARMLESS_RPCS if rpc.process == name]
    async with stack.channel(name) as fresh:
        assert await refused(rpc, fresh, thief) == REVOKED
