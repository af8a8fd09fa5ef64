"""The WebSocket transport: moves bytes, bounds them, and closes connections that are idle, slow or expired.
It knows nothing of topics. Compression is off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from crown import auth, logs, metrics
from services.realtime import closecodes
from services.realtime.closecodes import Close
from services.realtime.limits import Pace
from services.realtime.live import Event
from services.realtime.message import Broadcast, Frame
from services.realtime.room import Encoding
from services.realtime.serializer import Serializer
from services.realtime.socket import Socket

log = logs.get(__name__)

# Most bytes of a message from a client, in one frame or in fragments.
MESSAGE_MOST_BYTES = 64 << 10
# Most fragments of one message: they may be empty, and would fill the memory without end.
FRAGMENTS_MOST = 1_024
# Most bytes that wait for a client that does not read; the kernel holds some more.
QUEUE_MOST_BYTES = 1 << 20

# As plain numbers: comparing with the enum costs more than all else that is done with a frame.
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocketFrames:
    """Broadcasts as ready-made WebSocket frames: several need no more than to be put together."""

    def __init__(self, serializer: Serializer) -> None:
        self._serializer = serializer

    def encode(self, topic: str, event: Event) -> bytes:
        """See Encoding."""
        return framed(self._serializer.fastlane(Broadcast(topic, event.event, event.payload)))

    def together(self, parts: list[bytes]) -> bytes:
        """See Encoding."""
        return b"".join(parts)


def framed(frame: Frame) -> bytes:
    """`frame` as one unmasked WebSocket frame: what a server sends."""
    first, size = b"\x82" if frame.binary else b"\x81", len(frame.data)
    if size < 126:
        return first + size.to_bytes(1, "big") + frame.data
    if size < 1 << 16:
        return first + b"\x7e" + size.to_bytes(2, "big") + frame.data
    return first + b"\x7f" + size.to_bytes(8, "big") + frame.data


def _nowhere(frames: Any) -> None:
    """Where frames for a connection that is gone end."""


class WebSocket(WSListener):
    """One connection, called `name` wherever it is meant. `arrived` is called when it stands, `gone` when it is
    over."""

    __slots__ = (
        "_arrived",
        "_binary",
        "_due",
        "_fragments",
        "_gone",
        "_pace",
        "_size",
        "_socket",
        "_transport",
        "client",
        "closing_since",
        "deliver",
        "encoding",
        "heard",
        "id",
    )

    def __init__(
        self,
        name: str,
        client: str,
        encoding: Encoding,
        pace: Pace,
        arrived: Callable[[WebSocket], None],
        gone: Callable[[WebSocket], None],
    ) -> None:
        super().__init__()
        self.id = name
        self.client = client
        self.encoding = encoding
        # The transport's own write, so that a broadcast costs no step here for each who gets it.
        self.deliver: Callable[[Any], None] = _nowhere
        self.heard = time.monotonic()
        self.closing_since: float | None = None
        self._pace = pace
        self._due = 0.0
        self._arrived = arrived
        self._gone = gone
        self._socket: Socket | None = None
        self._transport: WSTransport | None = None
        self._fragments: list[bytes] = []
        self._binary = False
        self._size = 0

    def serve(self, socket: Socket) -> None:
        """Gives the connection its state, before it begins."""
        self._socket = socket

    @property
    def principal(self) -> auth.Principal:
        """Who is connected; nobody once it is over."""
        return self._socket.principal if self._socket else auth.NOBODY

    @property
    def expires(self) -> float:
        """When the token ends, in seconds since 1970."""
        return self.principal.expires

    # -- for the socket

    def send(self, frame: Frame) -> None:
        """See Outlet."""
        if self._transport is not None and self.closing_since is None:
            self._transport.send(WSMsgType.BINARY if frame.binary else WSMsgType.TEXT, frame.data)

    def close(self, why: Close) -> None:
        """See Outlet. The client is given time to answer, then cut off: see Sockets."""
        if self._transport is None or self.closing_since is not None:
            return
        self.closing_since = time.monotonic()
        metrics.CLOSES.labels(why.code).inc()
        self._end()
        self._transport.underlying_transport.resume_reading()
        self._transport.send_close(cast(WSCloseCode, why.code), why.reason)

    def abort(self) -> None:
        """Cuts the connection off."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def pause(self) -> None:
        """See Outlet."""
        if self._transport is not None and self.closing_since is None:
            self._transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """See Outlet."""
        if self._transport is not None and self.closing_since is None:
            self._transport.underlying_transport.resume_reading()

    # -- for the library

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self._transport = transport
        # Kept by the library for as long as the connection: kilobytes, and a token among them.
        transport.request.path = b""
        transport.request.headers.clear()
        transport.underlying_transport.set_write_buffer_limits(high=QUEUE_MOST_BYTES)
        self.deliver = transport.underlying_transport.write
        self._arrived(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame arrived."""
        self.heard = now = time.monotonic()
        kind = cast(int, frame.msg_type)
        if kind == _CLOSE:
            self._answer_close(transport)
            return
        if self.closing_since is not None:
            return
        self._due = self._pace.next(self._due, now)
        if self._due - now > self._pace.burst_s:
            self.close(closecodes.TOO_FAST)
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close(closecodes.PROTOCOL)
        elif kind == _PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == _TEXT and frame.fin and not self._fragments:
            self._receive(frame.get_payload_as_bytes(), binary=False)
        elif kind != _PONG:
            self._assemble(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        del transport
        self._end()
        self._transport = None
        self._gone(self)
        self._socket = None

    def pause_writing(self) -> None:
        """More waits than is allowed: the client does not read."""
        # Later, since this may come from the middle of a broadcast.
        asyncio.get_running_loop().call_soon(self.close, closecodes.SLOW)

    def resume_writing(self) -> None:
        """What waited is gone; the connection is closing all the same."""

    def _receive(self, data: bytes, binary: bool) -> None:
        try:
            message = data if binary else data.decode()
        except UnicodeDecodeError:
            self.close(closecodes.NOT_TEXT)
            return
        if self._socket is not None:
            self._socket.receive(message)

    def _assemble(self, kind: int, frame: WSFrame) -> None:
        if (kind == _CONTINUATION) != bool(self._fragments):
            self.close(closecodes.PROTOCOL)
        elif self._size + frame.payload_size > MESSAGE_MOST_BYTES or len(self._fragments) == FRAGMENTS_MOST:
            self.close(closecodes.TOO_BIG)
        else:
            self._binary = kind == _BINARY or (kind == _CONTINUATION and self._binary)
            self._size += frame.payload_size
            self._fragments.append(frame.get_payload_as_bytes())
            if frame.fin:
                whole, self._fragments, self._size = b"".join(self._fragments), [], 0
                self._receive(whole, self._binary)

    def _answer_close(self, transport: WSTransport) -> None:
        if self.closing_since is None:
            self.close(closecodes.NORMAL)
        transport.disconnect()

    def _end(self) -> None:
        self.deliver = _nowhere
        if self._socket is not None:
            self._socket.disconnected()
