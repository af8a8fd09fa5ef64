"""Seeding writes an address on every channel, through the API, and says what the API refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stack import cli
from stack.control import Stack
from stack.errors import StackError
from stack.seed import seed


class Gateway:
    """Takes everything, or answers `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.authorization: set[str] = set()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._take)
        self.server = TestServer(application)

    async def _take(self, request: web.Request) -> web.Response:
        self.calls.append((request.method, request.path, await request.json()))
        self.authorization.add(request.headers["Authorization"])
        return web.json_response({"message": "no such user"}, status=self.status)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    async with gateway.server:
        yield gateway


async def test_everybody_gets_a_contact_and_a_device(gateway: Gateway) -> None:
    await asyncio.to_thread(seed, gateway.address, "a-token")
    assert gateway.authorization == {"Bearer a-token"}
    for user in ("user123", "user1", "user2", "user3"):
        written = {(method, path): body for method, path, body in gateway.calls if f"/{user}/" in path}
        contact = written[("PUT", f"/api/v1/users/{user}/contact")]
        device = written[("POST", f"/api/v1/users/{user}/devices")]
        assert contact["email"] == f"{user}@crown.example"
        assert contact["phone"].startswith("+1202555")
        assert (device["kind"], device["platform"]) == ("TOKEN", "ANDROID")


async def test_they_meet_in_the_lobby(gateway: Gateway) -> None:
    await asyncio.to_thread(seed, gateway.address, "a-token")
    written = {(method, path): body for method, path, body in gateway.calls}
    assert written["PUT", "/api/v1/groups/lobby"] == {"kind": "CHAT", "client_events": True}
    members = written["POST", "/api/v1/groups/lobby/members"]
    assert members == {"user_ids": ["user123", "user1", "user2", "user3"]}


async def test_nobody_shares_an_address(gateway: Gateway) -> None:
    await asyncio.to_thread(seed, gateway.address, "a-token")
    addresses = [
        value for _, _, body in gateway.calls for value in (body.get("phone"), body.get("token")) if value
    ]
    assert len(addresses) == len(set(addresses)) == 8


async def test_a_refusal_is_told(gateway: Gateway) -> None:
    gateway.status = 404
    with pytest.raises(StackError, match=r"seeding: PUT .*/user123/contact answered 404: .*no such user"):
        await asyncio.to_thread(seed, gateway.address, "a-token")


async def test_a_gateway_that_is_away_is_told() -> None:
    with pytest.raises(StackError, match="seeding: PUT"):
        await asyncio.to_thread(seed, "127.0.0.1:1", "a-token")


@pytest.mark.parametrize(("jwks", "seeded"), [("", 1), ("http://auth/jwks.json", 0)])
def test_only_who_can_sign_a_token_seeds(
    jwks: str, seeded: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    stack = Stack(env={"CROWN_STACK_HOME": str(tmp_path), "CROWN_JWKS": jwks})
    monkeypatch.setattr(stack, "status", lambda: [SimpleNamespace(name="gateway")])
    monkeypatch.setattr("stack.seed.seed", lambda gateway, token: calls.append(gateway))
    cli._seed(stack)
    assert len(calls) == seeded
