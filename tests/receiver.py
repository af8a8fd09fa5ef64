"""A service that is told by webhooks. It checks each call by the standard's own library, and answers as it is
told."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class Call:
    """One call that came, and was signed as it has to be."""

    id: str
    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    time_s: float

    @property
    def state(self) -> str:
        """The state that it tells."""
        return str(self.body["data"]["state"])


@dataclass
class Receiver:
    """Answers 200, unless `answers` say otherwise: a status and headers for each call, in their order."""

    secret: str
    port: int
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is called."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def hosts(self) -> str:
        """What lets `feed` have it called."""
        return f"feed=127.0.0.1:{self.port}"

    def about(self, notification_id: str) -> list[Call]:
        """The calls about one notification."""
        return [call for call in self.calls if call.body["data"]["notification_id"] == notification_id]

    async def receive(self, request: web.Request) -> web.Response:
        """Takes one call. Raises what the library raises where the signature is wrong."""
        raw = (await request.read()).decode()
        body = Webhook(self.secret).verify(raw, dict(request.headers.items()))
        call = Call(request.headers["webhook-id"], request.path, body, request.headers, time.monotonic())
        self.calls.append(call)
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def receiving(listener: socket.socket, secret: str) -> AsyncIterator[Receiver]:
    """A receiver on a port that is taken already, so that whoever is to call it can know it before."""
    receiver = Receiver(secret, listener.getsockname()[1])
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()
