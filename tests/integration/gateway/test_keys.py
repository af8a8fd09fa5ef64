"""Keys that the auth service publishes at an address: the gateway reads them, and again when they change."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.render import render
from tests.integration.gateway.conftest import AUDIENCE, ISSUER, envoy

# The documented time, and some for a machine that is busy.
KNOWN_WITHIN_S = 10 + 20


class AuthService:
    """Publishes its keys in the clear on the loopback address."""

    def __init__(self) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        application = web.Application()
        application.router.add_get("/jwks.json", self._publish)
        self.server = TestServer(application)

    def add(self, key_id: str) -> None:
        self.keys[key_id] = ec.generate_private_key(ec.SECP256R1())

    def token(self, key_id: str, user_id: str = "user123") -> str:
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user_id, "exp": int(time.time()) + 600}
        return jwt.encode(claims, self.keys[key_id], algorithm="ES256", headers={"kid": key_id})

    async def _publish(self, request: web.Request) -> web.Response:
        del request
        public = [
            jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
            | {"kid": key_id, "alg": "ES256"}
            for key_id, key in self.keys.items()
        ]
        return web.Response(text=json.dumps({"keys": public}), content_type="application/json")


@asynccontextmanager
async def running(home: Path, auth: AuthService) -> AsyncIterator[aiohttp.ClientSession]:
    """A gateway with no service behind it that is told where `auth` publishes its keys."""
    ports = {"GATEWAY_BIND": "127.0.0.1", "NOTIFICATION_SERVICE_PORT": "0", "ENVOY_ADMIN_PORT": "0"}
    trust = {
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWKS_URL": str(auth.server.make_url("/jwks.json")),
    }
    (home / "envoy.yaml").write_text(render(ports | trust | {"INGEST_ADDRESS": "127.0.0.1:1"}))
    async with aiohttp.ClientSession() as http, envoy(home, http) as port:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield client


async def status(client: aiohttp.ClientSession, token: str) -> int:
    path = "/api/v1/users/user123/notifications"
    async with client.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
        return answer.status


async def test_a_key_that_is_added_is_known_soon(tmp_path: Path) -> None:
    auth = AuthService()
    auth.add("old")
    async with auth.server, running(tmp_path, auth) as client:
        # The token is good; it is the service that is missing.
        assert await status(client, auth.token("old")) == 503
        auth.add("new")
        async with asyncio.timeout(KNOWN_WITHIN_S):
            while await status(client, auth.token("new")) == 401:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.1)
        assert await status(client, auth.token("old")) == 503


async def test_a_key_that_is_withdrawn_is_believed_no_longer(tmp_path: Path) -> None:
    """A token that was seen before passes for as long as it is remembered here: its service refuses it then."""
    auth = AuthService()
    auth.add("old")
    auth.add("kept")
    async with auth.server, running(tmp_path, auth) as client:
        assert await status(client, auth.token("old", "1")) == 503
        withdrawn = [auth.token("old", str(number)) for number in range(2, 1_000)]
        del auth.keys["old"]
        async with asyncio.timeout(KNOWN_WITHIN_S):
            while await status(client, withdrawn.pop()) != 401:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.1)
        assert await status(client, auth.token("kept")) == 503
