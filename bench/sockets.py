"""A crowd of WebSocket clients in one process, for load: each joins its topic, checks that it gets every
numbered message exactly once and in order, and notes how long each took. A message's notification_id has to
be what `mark` gives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

_MARK = b'"notification_id":"'
_NUMBER_DIGITS = 12
_TIME_DIGITS = 19
_TEXT = 0x1
_CONNECTING_MOST = 64
_HEARTBEAT_S = 25.0
_NOTHING: dict[str, str] = {}


def mark(number: int) -> str:
    """The notification_id of message `number` (0, 1, …) to a topic, sent now."""
    return f"{number:0{_NUMBER_DIGITS}d}{time.time_ns():0{_TIME_DIGITS}d}"


def since(marked: bytes) -> float:
    """Seconds since `mark` gave what `marked` begins with."""
    sent_ns = int(marked[_NUMBER_DIGITS : _NUMBER_DIGITS + _TIME_DIGITS])
    return (time.time_ns() - sent_ns) / 1e9


def number(frame: bytes) -> int:
    """The number of the message in `frame`; -1 where it is none."""
    at = frame.find(_MARK) + len(_MARK)
    return int(frame[at : at + _NUMBER_DIGITS]) if at >= len(_MARK) else -1


@dataclass(frozen=True, slots=True)
class Member:
    """One client: whose token it shows and what it joins."""

    token: str
    topic: str


@dataclass(slots=True)
class Tally:
    """What a crowd saw."""

    frames: int = 0
    # Messages that came twice, too early or not at all, as seen by the numbers.
    out_of_order: int = 0
    closed: int = 0
    # Seconds from `mark` to the frame.
    delays_s: list[float] = field(default_factory=list)


class Client(WSListener):
    """One connection of the crowd."""

    def __init__(self, member: Member, tally: Tally) -> None:
        super().__init__()
        self.joined: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport: WSTransport | None = None
        self._member = member
        self._tally = tally
        self._next = 0
        self._at = -1

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Joins."""
        self.transport = transport
        join = msgspec.json.encode(("1", "1", self._member.topic, "phx_join", _NOTHING))
        transport.send(WSMsgType.TEXT, join)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Counts a message; its frame looks the same each time, so that the mark stands where it last did."""
        del transport
        if cast(int, frame.msg_type) != _TEXT:
            return
        data = frame.get_payload_as_bytes()
        at = self._at
        if at < 0 or data[at - len(_MARK) : at] != _MARK:
            at = data.find(_MARK) + len(_MARK)
            if at < len(_MARK):
                self._other(data)
                return
            self._at = at
        self._count(data, at)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Notes the end."""
        del transport
        self._tally.closed += 1
        if not self.joined.done():
            self.joined.cancel()

    def _count(self, data: bytes, at: int) -> None:
        tally = self._tally
        number = int(data[at : at + _NUMBER_DIGITS])
        tally.frames += 1
        if number != self._next:
            tally.out_of_order += 1
        self._next = number + 1
        tally.delays_s.append(since(data[at : at + _NUMBER_DIGITS + _TIME_DIGITS]))

    def _other(self, data: bytes) -> None:
        if not self.joined.done():
            self.joined.set_result(data)


class Crowd:
    """Many clients of one server, `url` being its address up to the path, such as `ws://127.0.0.1:4000`."""

    def __init__(self, url: str) -> None:
        self.tally = Tally()
        self.clients: list[Client] = []
        self._url = url

    async def enter(self, members: Sequence[Member]) -> None:
        """Connects and joins everybody. Raises RuntimeError where one is refused."""
        gate = asyncio.Semaphore(_CONNECTING_MOST)
        await asyncio.gather(*(self._enter(member, gate) for member in members))

    async def beat(self) -> None:
        """Sends heartbeats, until it is cancelled."""
        beat = b'[null,"0","phoenix","heartbeat",{}]'
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            for client in self.clients:
                if client.transport is not None:
                    client.transport.send(WSMsgType.TEXT, beat)

    def leave(self) -> None:
        """Cuts every connection."""
        for client in self.clients:
            if client.transport is not None:
                client.transport.disconnect(graceful=False)

    async def _enter(self, member: Member, gate: asyncio.Semaphore) -> None:
        async with gate:
            url = f"{self._url}/socket/websocket?vsn=2.0.0&token={member.token}"
            client = Client(member, self.tally)
            await ws_connect(
                lambda: client,
                url,
                websocket_handshake_timeout=30,
                read_buffer_init_size=2_048,
                logger_name=logging.LoggerAdapter(_QUIET, {}),
            )
            answer = await asyncio.wait_for(client.joined, 30)
            if b'"status":"ok"' not in answer:
                raise RuntimeError(f"refused: {answer.decode()}")
            self.clients.append(client)


_QUIET = logging.getLogger("bench.sockets")
_QUIET.setLevel(logging.CRITICAL)
