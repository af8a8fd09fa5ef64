"""REST as its callers use it. Every answer that passes here is held against the one shape."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from stack.control import Stack
from tests.e2e.answers import Reply, inspect
from tests.e2e.waiting import until

NOTIFICATIONS = "/api/v1/notifications"
BULK = "/api/v1/notifications/bulk"
JSON = {"Content-Type": "application/json"}
_RAW_LIMIT_S = 10.0


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, or without one."""

    http: aiohttp.ClientSession
    gateway: str
    token: str | None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The same caller over gRPC."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        faults: frozenset[int] = frozenset(),
    ) -> Reply:
        """One request, its path as it is written; a body that is no bytes is sent as JSON. `faults` are the 5xx
        that the caller expects."""
        given = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if body is not None:
            given.update(JSON)
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = URL(self.gateway + path, encoded=True)
        sent = None if raw is None else io.BytesIO(raw)
        async with self.http.request(method, url, headers={**given, **(headers or {})}, data=sent) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            reply = Reply(answer.status, found, await answer.read())
        return inspect(reply, head=method == "HEAD", faults=faults)

    async def get(self, path: str, **given: Any) -> Reply:
        """GET."""
        return await self.request("GET", path, **given)

    async def put(self, path: str, body: Any, **given: Any) -> Reply:
        """PUT."""
        return await self.request("PUT", path, body, **given)

    async def post(self, path: str, body: Any, **given: Any) -> Reply:
        """POST."""
        return await self.request("POST", path, body, **given)

    async def try_send(self, body: Any, **given: Any) -> Reply:
        """POST of one notification, whatever comes of it."""
        return await self.post(NOTIFICATIONS, body, **given)

    async def send(self, type: str = "", **fields: Any) -> str:
        """Sends one notification, which has to be accepted. Answers its id."""
        body = {**({"type": type} if type else {}), **fields}
        answer = (await self.try_send(body)).ok
        assert answer.keys() == {"notification_id", "status"}
        assert answer["status"] == "ACCEPTED"
        return str(answer["notification_id"])

    async def look(self, notification_id: str) -> dict[str, Any]:
        """The notification as its sender sees it now."""
        answer = (await self.get(f"{NOTIFICATIONS}/{notification_id}")).ok
        found: dict[str, Any] = answer["notification"]
        return found

    async def settled(self, notification_id: str, within_s: float = 10.0) -> dict[str, Any]:
        """The notification once each of its deliveries is final."""
        return await until(
            lambda: self.look(notification_id), lambda found: found["status"] == "DONE", within_s
        )

    async def outcome(self, notification_id: str, within_s: float = 10.0) -> dict[str, Any]:
        """What became of the only delivery of the notification."""
        (delivery,) = (await self.settled(notification_id, within_s))["deliveries"]
        found: dict[str, Any] = delivery
        return found

    async def history(self, user_id: str, query: str = "") -> dict[str, Any]:
        """A page of the person's history."""
        answer: dict[str, Any] = (await self.get(f"/api/v1/users/{user_id}/notifications{query}")).ok
        return answer


@dataclass(frozen=True)
class Rest:
    """The gateway's REST surface, and the people and programs that call it."""

    stack: Stack
    http: aiohttp.ClientSession

    @property
    def address(self) -> str:
        """host:port of the gateway."""
        return f"127.0.0.1:{self.stack.settings.ports.gateway}"

    @property
    def nobody(self) -> Caller:
        """Without a token."""
        return self.holder(None)

    @property
    def operator(self) -> Caller:
        """One who runs the suite."""
        return self.holder(self.stack.token(operator="olga"))

    def user(self, user_id: str) -> Caller:
        """A person."""
        return self.holder(self.stack.token(user=user_id))

    def service(self, name: str = "feed", *scopes: str) -> Caller:
        """A sending service; with every scope unless some are named."""
        return self.holder(self.stack.token(service=name, scopes=scopes))

    def holder(self, token: str | None) -> Caller:
        """Whoever holds this token."""
        return Caller(self.http, f"http://{self.address}", token)

    async def raw(self, request: bytes) -> Reply:
        """What the gateway answers to these bytes, whether it takes them all or not."""
        reader, writer = await asyncio.open_connection(*self.address.split(":"))
        try:
            async with asyncio.timeout(_RAW_LIMIT_S):
                # Not drained: a server that has seen enough answers without reading on.
                writer.write(request)
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
                headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:-1])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
        finally:
            writer.transport.abort()
        return inspect(Reply(int(lines[0].split()[1]), headers, body))
