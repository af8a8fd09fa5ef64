"""Tokens at the gateway: without a good one nothing reaches a service, and the refusal says how to get one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from crown.notification.v1 import inbox_service_pb2, inbox_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.gateway.conftest import Gateway

LIST = "/api/v1/users/user123/notifications"


def claims(**changed: object) -> dict[str, object]:
    return {
        "iss": "crown-auth",
        "aud": "crown-notification",
        "sub": "u",
        "exp": int(time.time()) + 60,
    } | changed


FORGED: dict[str, Callable[[Gateway], str]] = {
    "expired": lambda gateway: gateway.token(exp=int(time.time()) - 60),
    "not yet valid": lambda gateway: gateway.token(nbf=int(time.time()) + 600),
    "of another issuer": lambda gateway: gateway.token(iss="somebody"),
    "unsigned": lambda gateway: jwt.encode(claims(), "", algorithm="none"),
    "signed with a secret": lambda gateway: jwt.encode(claims(), "s" * 64, headers={"kid": "k1"}),
    "of another key": lambda gateway: jwt.encode(
        claims(), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": "k1"}
    ),
    "with an unknown key id": lambda gateway: jwt.encode(
        claims(), gateway.key, algorithm="ES256", headers={"kid": "../k1"}
    ),
    "that never expires": lambda gateway: jwt.encode(
        {"iss": "crown-auth", "aud": "crown-notification", "sub": "u"},
        gateway.key, algorithm="ES256", headers={"kid": "k1"},
    ),
    "no token at all": lambda gateway: "abc",
}  # fmt: skip


@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED)
async def test_refuses_a_token(gateway: Gateway, make: Callable[[Gateway], str]) -> None:
    reply = await gateway.send("GET", LIST, token=make(gateway))
    assert (reply.status, reply.json["code"]) == (401, 16)
    assert reply.json["details"][0]["reason"] == "TOKEN_INVALID"
    assert "crown token" in reply.json["message"]
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert gateway.backend.calls == []


async def test_refuses_a_token_for_another_audience(gateway: Gateway) -> None:
    reply = await gateway.send("GET", LIST, token=gateway.token(aud="crown-feed"))
    assert (reply.status, reply.json["code"]) == (403, 7)
    assert gateway.backend.calls == []


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic dTpw"}], ids=["none", "another scheme"])
async def test_says_how_to_get_a_token(gateway: Gateway, headers: dict[str, str]) -> None:
    reply = await gateway.send("GET", LIST, token=None, headers=headers)
    assert (reply.status, reply.json["code"]) == (401, 16)
    assert reply.json["details"][0]["reason"] == "TOKEN_MISSING"
    assert "Authorization: Bearer <token>" in reply.json["message"]
    assert "crown token --user" in reply.json["message"]


async def test_takes_no_token_from_the_query(gateway: Gateway) -> None:
    reply = await gateway.send("GET", f"{LIST}?access_token={gateway.token()}", token=None)
    assert reply.status == 401


async def test_reads_the_scheme_in_any_case(gateway: Gateway) -> None:
    headers = {"authorization": f"bearer {gateway.token()}"}
    assert (await gateway.send("GET", LIST, token=None, headers=headers)).status == 200


@pytest.mark.parametrize(
    "path", ["/crown.notification.v1.InboxService/ListNotifications", "//api//v1/users/a/contact"]
)
async def test_there_is_no_way_round(gateway: Gateway, path: str) -> None:
    reply = await gateway.send("GET" if "api" in path else "POST", path, token=None)
    assert reply.status == 401
    assert gateway.backend.calls == []


@pytest.mark.parametrize("token", ["", "Bearer a.b.c"], ids=["none", "garbage"])
async def test_a_grpc_caller_is_told_the_same_by_grpc(gateway: Gateway, token: str) -> None:
    async with gateway.channel() as channel:
        inbox = inbox_service_pb2_grpc.InboxServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await inbox.ListNotifications(
                inbox_service_pb2.ListNotificationsRequest(user_id="u"),
                metadata=(("authorization", token),) if token else (),
            )
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "crown token --user" in (refused.value.details() or "")
    assert "{" not in (refused.value.details() or "")
