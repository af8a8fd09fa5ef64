"""People's sockets: Phoenix clients that stay on their topic whatever happens, and write down what they got and
when they can have missed nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence

import aiohttp

from tests.fault.evidence import Frame, Span

_CONNECT_LIMIT_S = 5.0
_PAUSE_S = 0.25
_HEARTBEAT_S = 1.0
# What was published this long before the last frame arrived may have been under way behind it.
_UNDER_WAY_S = 2.0


class Listener:
    """One person's socket. `run` until it is cancelled."""

    def __init__(self, user: str, url: str, token: str) -> None:
        self.user = user
        self._url = f"{url}?vsn=2.0.0&token={token}"
        self._topic = f"user:{user}"
        self.frames: list[Frame] = []
        self.joined = asyncio.Event()
        # What the server said when it ended a connection.
        self.codes: list[int] = []
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._spans: list[Span] = []
        self._since: float | None = None
        # When its last notification came, or it joined.
        self._last = 0.0

    @property
    def spans(self) -> list[Span]:
        """When it was on its topic and missed nothing, as far as it was told."""
        if self._since is None:
            return list(self._spans)
        return [*self._spans, Span(self._since, time.time())]

    def forget(self) -> None:
        """Starts the record anew."""
        self.frames.clear()
        self._spans.clear()
        if self._since is not None:
            self._since = time.time()

    async def drop(self) -> None:
        """Goes away, as a phone in a tunnel does; and comes back by itself."""
        if self._socket is not None:
            await self._socket.close()

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Connects again whenever the connection ends."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._connect(session)
            self._lost()
            await asyncio.sleep(_PAUSE_S)

    async def _connect(self, session: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(_CONNECT_LIMIT_S):
            socket = await session.ws_connect(self._url)
        async with socket:
            self._socket = socket
            await socket.send_str(json.dumps(["1", "1", self._topic, "phx_join", {}]))
            beating = asyncio.create_task(_beat(socket))
            try:
                # Also against a server that takes the connection and then says nothing.
                while message := await socket.receive(timeout=_CONNECT_LIMIT_S):
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        self.codes.append(socket.close_code or 0)
                        return
                    if not self._take(json.loads(message.data)):
                        return
            finally:
                beating.cancel()

    def _take(self, frame: Sequence[object]) -> bool:
        """False where the connection is of no use any more."""
        _, ref, topic, event, payload = frame
        assert isinstance(payload, Mapping)
        match event:
            case "phx_reply" if ref == "1" and topic == self._topic:
                if payload["status"] != "ok":
                    return False
                self._since = self._last = time.time()
                self.joined.set()
            case "notification":
                place = int(payload.get("offset", 0)), str(payload.get("epoch", ""))
                self.frames.append(Frame(self.user, str(payload["notification_id"]), *place))
                self._last = time.time()
            case "resync":
                self._told()
                self._since = self._last = time.time()
            case "phx_error" | "phx_close":
                return False
        return True

    def _told(self) -> None:
        """It has learned that it may have missed what came after its last notification."""
        if self._since is not None and self._last - _UNDER_WAY_S > self._since:
            self._spans.append(Span(self._since, self._last - _UNDER_WAY_S))
        self._since = None

    def _lost(self) -> None:
        """The connection is gone, which tells the same."""
        self._told()
        self.joined.clear()


async def _beat(socket: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_S)
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await socket.send_str('[null,"beat","phoenix","heartbeat",{}]')
