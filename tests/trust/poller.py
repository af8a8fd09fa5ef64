"""A client that polls, as phoenix.js does where no WebSocket gets through, no more of it than tests need."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.rest import Rest

_LIMIT_S = 20.0
_NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass
class Poller:
    """One session, once it is opened."""

    rest: Rest
    session: str = ""
    _ref: int = 0
    _heard: list[Any] = field(default_factory=list)

    async def open(self, token: str) -> int:
        """Opens the session. Answers the status in the body: 410 says that there is a new one, 403 that not."""
        answer = await self._ask("GET", token=token)
        self.session = answer.get("token", "")
        return int(answer["status"])

    async def ask(self, topic: str, event: str, payload: object) -> dict[str, Any]:
        """Sends an event and answers its reply: {"status", "response"}."""
        self._ref += 1
        ref = str(self._ref)
        frame = json.dumps([ref, ref, topic, event, payload]).encode()
        assert (await self._ask("POST", frame, token=self.session))["status"] == 200
        async with asyncio.timeout(_LIMIT_S):
            while True:
                for message in (await self._ask("GET", token=self.session)).get("messages", []):
                    _, answered, _, what, body = json.loads(message)
                    if what == "phx_reply" and answered == ref:
                        found: dict[str, Any] = body
                        return found

    async def _ask(self, method: str, body: bytes | None = None, **query: str) -> dict[str, Any]:
        url = f"http://{self.rest.address}/socket/longpoll"
        given = {"vsn": "2.0.0", **query}
        async with self.rest.http.request(method, url, params=given, data=body, headers=_NDJSON) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found
