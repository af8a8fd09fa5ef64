"""A client of Phoenix Channels V2 over the gateway, no more of it than tests need."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.e2e.rest import Rest

_LIMIT_S = 10.0


@dataclass
class Socket:
    """An open socket; replies and pushes are told apart by their event."""

    stream: aiohttp.ClientWebSocketResponse
    _ref: int = 0
    _pushes: list[tuple[str, str, Any]] = field(default_factory=list)
    _joins: dict[str, str] = field(default_factory=dict)

    @property
    def unread(self) -> list[tuple[str, str, Any]]:
        """The pushes that came by the way and that nobody has asked for: topic, event, payload."""
        return list(self._pushes)

    async def ask(self, topic: str, event: str, payload: object) -> dict[str, Any]:
        """Sends an event and answers its reply: {"status", "response"}."""
        self._ref += 1
        ref = str(self._ref)
        join_ref = self._joins.setdefault(topic, ref)
        await self.stream.send_str(json.dumps([join_ref, ref, topic, event, payload]))
        async with asyncio.timeout(_LIMIT_S):
            while True:
                _, answered, where, what, body = await self.stream.receive_json()
                if what == "phx_reply" and answered == ref:
                    found: dict[str, Any] = body
                    return found
                self._pushes.append((where, what, body))

    async def join(self, topic: str) -> dict[str, Any]:
        """Joins a topic, which has to be allowed. Answers what the server says."""
        reply = await self.ask(topic, "phx_join", {})
        assert reply["status"] == "ok", reply
        found: dict[str, Any] = reply["response"]
        return found

    async def pushed(self, event: str) -> Any:
        """The payload of the next push called `event`."""
        async with asyncio.timeout(_LIMIT_S):
            while True:
                for push in self._pushes:
                    if push[1] == event:
                        self._pushes.remove(push)
                        return push[2]
                _, _, where, what, body = await self.stream.receive_json()
                self._pushes.append((where, what, body))


@asynccontextmanager
async def connected(rest: Rest, token: str) -> AsyncIterator[Socket]:
    """A socket through the gateway, the token where phoenix.js puts it."""
    async with rest.http.ws_connect(
        f"ws://{rest.address}/socket/websocket?vsn=2.0.0&token={token}"
    ) as stream:
        yield Socket(stream)
