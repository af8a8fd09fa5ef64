"""One long-poll session: a connection whose frames wait here until the client asks for them. It knows neither HTTP
nor where the client's requests arrive."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from crown import metrics
from crown.auth import NOBODY, Principal
from services.realtime import closecodes
from services.realtime.closecodes import Close
from services.realtime.limits import UNLIMITED, Pace
from services.realtime.live import Event
from services.realtime.message import Broadcast, Frame
from services.realtime.room import Encoding
from services.realtime.serializer import Serializer
from services.realtime.socket import Socket
from services.realtime.websocket import MESSAGE_MOST_BYTES, QUEUE_MOST_BYTES

# Of frames in one answer, which may have to pass the bus; what is left waits for the next poll.
ANSWER_MOST_BYTES = 256 << 10


class SessionOver(Exception):
    """The session has ended."""


class TextFrames:
    """Broadcasts as the texts that a poll answers. The serializer has to be one that sends text only."""

    def __init__(self, serializer: Serializer) -> None:
        self._serializer = serializer

    def encode(self, topic: str, event: Event) -> list[bytes]:
        """See Encoding."""
        return [self._serializer.fastlane(Broadcast(topic, event.event, event.payload)).data]

    def together(self, parts: list[list[bytes]]) -> list[bytes]:
        """See Encoding."""
        return [frame for part in parts for frame in part]


class Session:
    """See Watched and Outlet."""

    def __init__(self, name: str, encoding: Encoding, client: str = "", pace: Pace = UNLIMITED) -> None:
        self.id = name
        self.client = client
        self.encoding = encoding
        self.heard = self.polled = time.monotonic()
        self.closing_since: float | None = None
        self._pace = pace
        self._due = 0.0
        self._ends: list[Callable[[], object]] = []
        self._socket: Socket | None = None
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        # How many polls there were: only the last one may take frames.
        self._polls = 0
        self._reading = asyncio.Event()
        self._reading.set()
        self._pushing = asyncio.Lock()

    def serve(self, socket: Socket) -> None:
        """Gives the session its state, before it begins."""
        self._socket = socket

    def on_end(self, action: Callable[[], object]) -> None:
        """Calls `action` once it is over, which it may be."""
        if self.closing_since is None:
            self._ends.append(action)
        else:
            action()

    @property
    def principal(self) -> Principal:
        """See Present."""
        return self._socket.principal if self._socket else NOBODY

    @property
    def expires(self) -> float:
        """See Watched."""
        return self.principal.expires

    # -- for the client's requests

    async def poll(self, window_s: float) -> list[str]:
        """What waits, as soon as there is something; nothing after `window_s` seconds, or where another poll
        comes meanwhile. Raises SessionOver."""
        self.heard = self.polled = time.monotonic()
        self.let_go()
        poll = self._polls
        try:
            async with asyncio.timeout(window_s):
                while not self._frames and self.closing_since is None and poll == self._polls:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            pass
        if self.closing_since is not None:
            raise SessionOver
        self.heard = self.polled = time.monotonic()
        return self._take() if poll == self._polls else []

    def let_go(self) -> None:
        """Makes a poll that waits answer nothing: its client is gone."""
        self._polls += 1
        self._wake.set()

    async def push(self, frames: Sequence[str | bytes]) -> None:
        """Hands frames to the socket, each when it is done with the one before. Raises SessionOver."""
        self.heard = time.monotonic()
        async with self._pushing:
            for frame in frames:
                self._receive(frame)
                # A join is under way as long as this waits.
                await self._reading.wait()
        if self.closing_since is not None:
            raise SessionOver

    def _receive(self, frame: str | bytes) -> None:
        size = len(frame) if isinstance(frame, bytes) else len(frame.encode())
        now = time.monotonic()
        self._due = self._pace.next(self._due, now)
        if self._due - now > self._pace.burst_s:
            self.close(closecodes.TOO_FAST)
        if size > MESSAGE_MOST_BYTES:
            self.close(closecodes.TOO_BIG)
        if self.closing_since is not None:
            raise SessionOver
        if self._socket is not None:
            self._socket.receive(frame)

    def _take(self) -> list[str]:
        taken: list[str] = []
        size = 0
        while self._frames and (not taken or size + len(self._frames[0]) <= ANSWER_MOST_BYTES):
            frame = self._frames.popleft()
            size += len(frame)
            taken.append(frame.decode())
        self._size -= size
        return taken

    # -- for the socket, and for who watches

    def send(self, frame: Frame) -> None:
        """See Outlet."""
        self.deliver([frame.data])

    def deliver(self, frames: list[bytes]) -> None:
        """See Subscriber."""
        if self.closing_since is not None:
            return
        self._frames.extend(frames)
        self._size += sum(map(len, frames))
        self._wake.set()
        if self._size > QUEUE_MOST_BYTES:
            self._frames.clear()
            self._size = 0
            # Later, since this may come from the middle of a broadcast.
            asyncio.get_running_loop().call_soon(self.close, closecodes.SLOW)

    def pause(self) -> None:
        """See Outlet."""
        self._reading.clear()

    def resume(self) -> None:
        """See Outlet."""
        self._reading.set()

    def close(self, why: Close) -> None:
        """See Watched. The client hears of it by its next request, which finds no session."""
        if self.closing_since is not None:
            return
        self.closing_since = time.monotonic()
        metrics.CLOSES.labels(why.code).inc()
        self._frames.clear()
        self._wake.set()
        self._reading.set()
        if self._socket is not None:
            self._socket.disconnected()
        for end in self._ends:
            end()

    def abort(self) -> None:
        """See Watched."""
        self.close(closecodes.RESTART)
