"""What the gateway itself refuses by gRPC has the one shape, too: code, reason and message agree."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from crown import problem
from crown.notification.v1 import inbox_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.integration.gateway.conftest import Gateway

LIST = "/crown.notification.v1.InboxService/ListNotifications"
DEVICES = "/crown.notification.v1.DeviceService/ListDevices"
WANTED = inbox_service_pb2.ListNotificationsRequest(user_id="u1").SerializeToString()


async def refusal(gateway: Gateway, path: str, token: str | None, code: grpc.StatusCode) -> tuple[str, str]:
    """Reason and message of a call that is refused with this code."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with gateway.channel() as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        under_way = call(WANTED, metadata=metadata, timeout=10)
        assert await under_way.code() is code
        # Raises where code or message are not those of the details.
        status = await rpc_status.aio.from_call(under_way)
        assert (await under_way.initial_metadata()).get("x-request-id") or dict(
            await under_way.trailing_metadata()
        ).get("x-request-id")
    return reason(status), status.message


def reason(status: status_pb2.Status) -> str:
    """The reason, which is that of the code."""
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "crown.notification.v1"
    assert status.code == problem.code(info.reason)
    return str(info.reason)


TOKENS: dict[str, tuple[Callable[[Gateway], str | None], str, str]] = {
    "none": (lambda gateway: None, "TOKEN_MISSING", "Authorization: Bearer <token>"),
    "garbage": (lambda gateway: "a.b.c", "TOKEN_INVALID", "does not verify"),
    "expired": (lambda gateway: gateway.token(exp=int(time.time()) - 60), "TOKEN_INVALID", "has expired"),
}


@pytest.mark.parametrize(("make", "why", "said"), TOKENS.values(), ids=TOKENS)
async def test_a_token_that_is_not_good(
    gateway: Gateway, make: Callable[[Gateway], str | None], why: str, said: str
) -> None:
    found, message = await refusal(gateway, LIST, make(gateway), grpc.StatusCode.UNAUTHENTICATED)
    assert found == why
    assert said in message
    rest = await gateway.send("GET", "/api/v1/users/u1/notifications", token=make(gateway))
    assert rest.json["details"][0]["reason"] == why


async def test_a_token_for_another_audience(gateway: Gateway) -> None:
    denied = grpc.StatusCode.PERMISSION_DENIED
    assert (await refusal(gateway, LIST, gateway.token(aud="x"), denied))[0] == "NOT_ALLOWED"


async def test_a_service_that_is_not_there(gateway: Gateway) -> None:
    path = "/crown.notification.v1.Nothing/Get"
    found, _ = await refusal(gateway, path, gateway.token(), grpc.StatusCode.UNIMPLEMENTED)
    assert found == "UNSUPPORTED"


async def test_a_part_that_is_away(gateway: Gateway) -> None:
    async with gateway.backend.without("PUSH_ADDRESS"):
        found, _ = await refusal(gateway, DEVICES, gateway.token(), grpc.StatusCode.UNAVAILABLE)
        rest = await gateway.send("GET", "/api/v1/users/u1/devices")
    assert found == "NOT_READY"
    # What is in the header stands in the body as well, as where a service says it.
    assert (rest.status, rest.headers["retry-after"]) == (503, "1")
    soon = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "1s"}
    assert [detail for detail in rest.json["details"] if detail["@type"] == soon["@type"]] == [soon]


async def test_by_grpc_too_it_is_told_when_to_come_back(gateway: Gateway) -> None:
    metadata = (("authorization", f"Bearer {gateway.token()}"),)
    async with gateway.backend.without("PUSH_ADDRESS"), gateway.channel() as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(DEVICES)
        status = await rpc_status.aio.from_call(call(WANTED, metadata=metadata, timeout=10))
    soon = error_details_pb2.RetryInfo()
    assert [part.Unpack(soon) for part in status.details] == [False, True]
    assert soon.retry_delay.seconds == 1


@contextlib.asynccontextmanager
async def hanging_up(port: int) -> AsyncIterator[None]:
    """A server that takes a request and breaks the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await asyncio.sleep(0.3)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield


async def test_a_connection_that_broke_after_the_call_had_left(gateway: Gateway) -> None:
    async with gateway.backend.without("PUSH_ADDRESS") as port:
        async with hanging_up(port):
            found, message = await refusal(
                gateway, DEVICES, gateway.token(), grpc.StatusCode.DEADLINE_EXCEEDED
            )
    assert (found, message.partition(":")[0]) == ("OUTCOME_UNKNOWN", "no answer")


async def test_a_page_is_told_the_same_by_grpc_web(gateway: Gateway) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    frame = b"\0" + struct.pack(">I", len(WANTED)) + WANTED
    reply = await gateway.send("POST", LIST, data=frame, headers=headers, token=None)
    assert reply.headers["grpc-status"] == "16"
    assert reply.headers["grpc-status-details-bin"]
