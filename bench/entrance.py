"""Brings thousands of clients in as fast as a server takes them, over plain sockets: handshake, join, and then
whatever is said to them. One process, one epoll, and nothing of asyncio: a client costs less than a server does."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterable
from itertools import cycle
from typing import Protocol

from bench import wire
from bench.child import BenchError

# A source address has some 28,000 ports.
_SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 8))
# Takes a port when it connects, and so one that another address has as well; not in `socket` yet.
_IP_BIND_ADDRESS_NO_PORT = 24
_CHUNK_BYTES = 65_536
_EVENTS_MOST = 512
_AWAY_S = 0.05
# What a gateway says while the service behind it is away.
_AWAY = b"HTTP/1.1 503 "


class Visitor(Protocol):
    """One client: what it says, and what it makes of what it hears."""

    @property
    def request(self) -> bytes:
        """The handshake."""

    @property
    def join(self) -> bytes:
        """The frame that it says first; empty: it says nothing."""

    def welcome(self, reply: bytes) -> bool:
        """Takes what is said first to it. False where that is a refusal."""

    def hear(self, text: bytes) -> None:
        """Takes all that is said later."""


class Line:
    """The connection of one client."""

    __slots__ = ("_frames", "_head", "_inside", "_let_in", "socket", "visitor")

    def __init__(self, visitor: Visitor, connected: socket.socket) -> None:
        self.visitor = visitor
        self.socket = connected
        self._frames = wire.Frames()
        self._head = b""
        self._let_in = self._inside = False

    def take(self, chunk: bytes) -> bool:
        """Handles what was read; True where that brought the client in. Raises BenchError where the server will
        not have it, ConnectionRefusedError where that may be otherwise soon, and wire.Broken."""
        before = self._inside
        if not self._let_in:
            chunk = self._shake(chunk)
        for text in self._frames.take(chunk):
            if self._inside:
                self.visitor.hear(text)
            elif self.visitor.welcome(text):
                self._inside = True
            else:
                raise BenchError(f"refused: {text[:200]!r}")
        return self._inside and not before

    @property
    def inside(self) -> bool:
        """Whether it has been let in, and joined."""
        return self._inside

    def _shake(self, chunk: bytes) -> bytes:
        self._head += chunk
        answer = wire.answer(self._head)
        if answer is None:
            return b""
        self._let_in, rest = answer
        if self._head.startswith(_AWAY):
            raise ConnectionRefusedError("503: who it is for is away")
        if not self._let_in:
            raise BenchError(f"refused: {self._head[:60]!r}")
        self._head = b""
        if self.visitor.join:
            self.socket.send(self.visitor.join)
        else:
            self._inside = True
        return rest


class Entrance:
    """The way to the server at `address`, `abreast` clients at a time. Where `again`, those who are cut off or
    find nobody there come back, like real ones; else that is an error."""

    def __init__(self, address: tuple[str, int], abreast: int = 128, again: bool = False) -> None:
        self._address = address
        self._abreast = abreast
        self._again = again
        self._sources = cycle(_SOURCES)
        self._poll = select.epoll()
        self._outside: deque[Visitor] = deque()
        self._not_before = 0.0
        self.lines: dict[int, Line] = {}
        # How many are in.
        self.inside = 0
        # How often one was cut off or found nobody there.
        self.cut = 0

    def send(self, visitors: Iterable[Visitor]) -> None:
        """They go in, in the turns that follow."""
        self._outside.extend(visitors)

    def enter(self, visitors: Iterable[Visitor], limit_s: float) -> None:
        """They go in, and are in. Raises BenchError."""
        self.send(visitors)
        limit = time.monotonic() + limit_s
        while self._outside or self.inside < len(self.lines):
            self.turn(1.0)
            if time.monotonic() > limit:
                raise BenchError(f"{self.inside:,} came in within {limit_s:g} s")

    def turn(self, most_s: float) -> None:
        """Does what can be done, and waits for at most `most_s` where that is nothing."""
        while self._outside and len(self.lines) - self.inside < self._abreast:
            if time.monotonic() < self._not_before:
                most_s = min(most_s, _AWAY_S)
                break
            self._open(self._outside.popleft())
        for number, _ in self._poll.poll(most_s, _EVENTS_MOST):
            self._read(self.lines[number])

    def leave(self) -> None:
        """Cuts every connection."""
        for line in self.lines.values():
            line.socket.close()
        self.lines.clear()
        self.inside = 0

    def _open(self, visitor: Visitor) -> None:
        opened = socket.socket()
        opened.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.bind((next(self._sources), 0))
        try:
            # On one machine this takes no time, as long as fewer come at a time than the server's queue holds.
            opened.connect(self._address)
            opened.setblocking(False)
            opened.send(visitor.request)
        except OSError as error:
            opened.close()
            self._turned_away(visitor, error)
            self._not_before = time.monotonic() + _AWAY_S
            return
        self.lines[opened.fileno()] = Line(visitor, opened)
        self._poll.register(opened, select.EPOLLIN)

    def _read(self, line: Line) -> None:
        try:
            chunk = line.socket.recv(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionResetError("the server closed")
            self.inside += line.take(chunk)
        except (OSError, wire.Broken) as error:
            self._cut(line, error)

    def _cut(self, line: Line, why: Exception) -> None:
        del self.lines[line.socket.fileno()]
        self.inside -= line.inside
        line.socket.close()
        self._turned_away(line.visitor, why)
        if not line.inside:
            self._not_before = time.monotonic() + _AWAY_S

    def _turned_away(self, visitor: Visitor, why: Exception) -> None:
        if not self._again:
            raise BenchError(f"a client was cut off: {why}")
        self.cut += 1
        self._outside.append(visitor)
