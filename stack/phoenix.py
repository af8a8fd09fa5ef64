"""A small Phoenix Channels client, for the command line: joins the topic of one user and hands over what comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from stack.errors import StackError

_JOIN_LIMIT_S = 5.0
_BEAT_S = 25.0


class Socket:
    """An open socket that has joined `user:<id>`. Iterate it for (event, payload)."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def __aiter__(self) -> AsyncIterator[tuple[str, Any]]:
        async for message in self._socket:
            _, _, _, event, payload = json.loads(message.data)
            if event != "phx_reply":
                yield event, payload

    async def beat(self) -> None:
        """Keeps the socket open until cancelled: the server closes who is silent for a minute."""
        while True:
            await asyncio.sleep(_BEAT_S)
            await self._socket.send_str(json.dumps([None, "beat", "phoenix", "heartbeat", {}]))

    async def join(self, user: str) -> None:
        """Joins the user's topic. Raises StackError where it is refused."""
        await self._socket.send_str(json.dumps(["1", "1", f"user:{user}", "phx_join", {}]))
        try:
            _, _, _, _, reply = await self._socket.receive_json(timeout=_JOIN_LIMIT_S)
        except (TypeError, ValueError, TimeoutError) as error:
            raise StackError(f"joining user:{user}: no answer") from error
        if reply["status"] != "ok":
            raise StackError(f"joining user:{user} was refused: {reply['response']}")


@asynccontextmanager
async def joined(http: aiohttp.ClientSession, gateway: str, user: str, token: str) -> AsyncIterator[Socket]:
    """The user's socket through the gateway at `gateway` (host:port), while the block runs. Raises StackError."""
    url = f"ws://{gateway}/socket/websocket?vsn=2.0.0&token={token}"
    try:
        async with http.ws_connect(url) as connection:
            socket = Socket(connection)
            await socket.join(user)
            beating = asyncio.create_task(socket.beat())
            try:
                yield socket
            finally:
                beating.cancel()
    except aiohttp.ClientError as error:
        raise StackError(f"the socket of {user} does not open: {error}") from error
