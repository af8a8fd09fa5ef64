"""Tokens that are no tokens, at every door."""

from __future__ import annotations

import aiohttp
import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from crown.notification.v1.ingest_service_pb2 import GetNotificationRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from stack.control import Stack
from tests.e2e.forgery import FORGED, signed, statuses
from tests.e2e.people import data
from tests.e2e.phoenix import connected
from tests.e2e.remarks import details
from tests.e2e.rest import NOTIFICATIONS, Rest

HINT = "crown token --user <id>"
UNKNOWN = "01a202de-cd68-776b-aacc-66961d5740dd"
every_forgery = pytest.mark.parametrize("name", FORGED)


async def asked(channel: grpc.aio.Channel, token: str) -> grpc.aio.AioRpcError:
    """The error of a call that finds nothing, where the token is good."""
    stub = IngestServiceStub(channel)
    request = GetNotificationRequest(notification_id=UNKNOWN)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetNotification(request, metadata=(("authorization", f"Bearer {token}"),), timeout=5)
    return caught.value


@every_forgery
async def test_rest_refuses(rest: Rest, stack: Stack, name: str) -> None:
    answer = await rest.holder(FORGED[name](stack)).try_send(
        {"type": "in_app", "user_id": "x", "data": data()}
    )
    assert (answer.status, answer.problem.code) in statuses(name)
    assert answer.problem.reason in {"TOKEN_INVALID", "NOT_ALLOWED"}


@every_forgery
async def test_grpc_refuses(channel: grpc.aio.Channel, stack: Stack, name: str) -> None:
    assert (await asked(channel, FORGED[name](stack))).code().value[0] in {code for _, code in statuses(name)}


@every_forgery
async def test_services_do_not_trust_the_gateway(stack: Stack, name: str) -> None:
    async with grpc.aio.insecure_channel(stack.address("ingest-api")) as direct:
        error = await asked(direct, FORGED[name](stack))
    assert error.code().value[0] in {code for _, code in statuses(name)}
    assert details(error)[ErrorInfo].reason in {"TOKEN_INVALID", "NOT_ALLOWED"}


@every_forgery
async def test_the_socket_refuses(rest: Rest, stack: Stack, name: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with connected(rest, FORGED[name](stack)):
            pass
    assert caught.value.status == 403


async def test_what_is_forged_differs_from_what_is_good(channel: grpc.aio.Channel, stack: Stack) -> None:
    assert (await asked(channel, signed(stack))).code() is grpc.StatusCode.NOT_FOUND


async def test_without_a_token(rest: Rest) -> None:
    answer = await rest.nobody.try_send({"type": "in_app", "user_id": "x", "data": data()})
    assert (answer.status, answer.problem.reason) == (401, "TOKEN_MISSING")
    assert HINT in answer.problem.message


@pytest.mark.parametrize("header", ["Basic Zm9vOmJhcg==", "Bearer", "Bearer ", "token", ""])
async def test_what_is_no_bearer_token(rest: Rest, header: str) -> None:
    answer = await rest.nobody.get(f"{NOTIFICATIONS}/{UNKNOWN}", headers={"Authorization": header})
    assert (answer.status, answer.problem.code) == (401, 16)
    assert HINT in answer.problem.message


@pytest.mark.parametrize("word", ["bearer", "Bearer"])
async def test_a_good_token(rest: Rest, stack: Stack, word: str) -> None:
    headers = {"Authorization": f"{word} {signed(stack)}"}
    assert (await rest.nobody.get(f"{NOTIFICATIONS}/{UNKNOWN}", headers=headers)).status == 404


async def test_a_token_in_the_query_is_none(rest: Rest, stack: Stack) -> None:
    for name in ("token", "access_token"):
        path = f"{NOTIFICATIONS}/{UNKNOWN}?{name}={signed(stack)}"
        assert (await rest.nobody.get(path)).status == 401


async def test_people_do_not_send(rest: Rest) -> None:
    answer = await rest.user("user123").try_send({"type": "in_app", "user_id": "user123", "data": data()})
    assert (answer.status, answer.problem.code, answer.problem.reason) == (403, 7, "NOT_ALLOWED")
    assert answer.problem.metadata["needs"] == "the scope notifications.send"


async def test_services_send_with_the_scope_only(rest: Rest) -> None:
    reader = rest.service("reader", "inbox.read")
    answer = await reader.try_send({"type": "in_app", "user_id": "user123", "data": data()})
    assert (answer.status, answer.problem.code) == (403, 7)
    assert (await reader.get("/api/v1/users/user123/notifications")).status == 200


async def test_an_old_token_is_good_for_half_a_minute(rest: Rest, stack: Stack) -> None:
    for ttl_s, status in ((-15, 404), (-45, 401)):
        caller = rest.holder(stack.token(service="feed", ttl_s=ttl_s))
        assert (await caller.get(f"{NOTIFICATIONS}/{UNKNOWN}")).status == status
