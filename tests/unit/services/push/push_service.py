"""A browser and its push service, as small as they can be: the service answers what it is told, the browser reads
what it got."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crown.notification.v1.types_pb2 import DeviceKind
from crown.recipients import Destination
from services.push.web_push.crypto import _keys, decoded, encoded, point


@dataclass
class PushService:
    """What was asked of it, and what it answers."""

    url: str = ""
    status: int = 201
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    hangs_up: bool = False
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Keeps the call, and answers."""
        self.asked.append((request.path, dict(request.headers), await request.read()))
        if self.hangs_up:
            assert request.transport is not None
            request.transport.close()
        location = {"Location": f"{self.url}/m/message-7"} if self.status == 201 else {}
        return web.Response(status=self.status, headers={**location, **self.headers}, text=self.body)

    @property
    def host(self) -> str:
        """Its entry in a list of hosts."""
        return self.url.removeprefix("http://")

    def claims(self) -> dict[str, Any]:
        """What we claimed in the last call, signature checked."""
        fields = dict(
            part.strip().split("=", 1) for part in self.asked[-1][1]["Authorization"][6:].split(",")
        )
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(fields["k"]))
        found: dict[str, Any] = jwt.decode(fields["t"], key, ["ES256"], audience=self.url)
        return found


class Browser:
    """Has a subscription, and reads what comes."""

    def __init__(self, endpoint: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)
        self.destination = Destination(
            endpoint.rpartition("/")[2],
            endpoint,
            DeviceKind.WEB_PUSH,
            p256dh=encoded(point(self._key.public_key())),
            auth=encoded(self._auth),
        )

    def read(self, body: bytes) -> dict[str, Any]:
        """The payload in a body."""
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), body[21:86])
        secret = self._key.exchange(ec.ECDH(), theirs)
        key, nonce = _keys(secret, self._auth, point(self._key.public_key()), body[21:86], body[:16])
        found: dict[str, Any] = json.loads(AESGCM(key).decrypt(nonce, body[86:], None)[:-1])
        return found


@asynccontextmanager
async def opened() -> AsyncIterator[PushService]:
    """A push service on loopback."""
    service = PushService()
    app = web.Application()
    app.router.add_post("/{path:.*}", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        await runner.cleanup()
