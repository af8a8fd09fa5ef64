"""A TCP proxy that misbehaves on demand: put between a service and what it depends on, switched from the test,
each direction by itself, also for connections that stand already.

    async with Proxy("127.0.0.1", nats_port) as proxy:
        with proxy.toxic(BlackHole(), Direction.DOWNSTREAM):
            ...

A MongoDB client that knows of the replica set goes to the address that the member itself names, past any
proxy: give it `directConnection=true`."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from types import TracebackType

from tests.fault.toxics import (
    Bandwidth,
    BlackHole,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Toxic,
)

_READ_MOST_BYTES = 64 << 10
# What waits inside one direction; beyond it the sender feels that nobody reads.
_HELD_MOST_BYTES = 1 << 20
_CONNECT_TIMEOUT_S = 5.0


class Direction(StrEnum):
    """Where bytes go: from the client to the server is up."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class Proxy:
    """Listens on `port`, a free one unless given, and forwards to `host`:`target_port`."""

    def __init__(
        self, host: str, target_port: int, port: int = 0, chance: random.Random | None = None
    ) -> None:
        self.port = port
        self._target = (host, target_port)
        self._chance = chance or random.Random()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._toxics: dict[Direction, list[Toxic]] = {direction: [] for direction in Direction}

    async def __aenter__(self) -> Proxy:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    @property
    def address(self) -> str:
        """host:port, for the client."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many stand."""
        return len(self._links)

    async def up(self) -> None:
        """Lets clients connect."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuses connections and cuts those that stand; the toxics stay for when it is up again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        links = list(self._links)
        for link in links:
            link.cut()
        await asyncio.gather(*(link.over.wait() for link in links))

    def reset(self) -> None:
        """Resets every connection, once."""
        for link in list(self._links):
            link.cut(reset=True)

    def add(self, toxic: Toxic, direction: Direction = Direction.DOWNSTREAM) -> None:
        """From now on, until it is removed."""
        self._toxics[direction].append(toxic)
        self._changed()

    def remove(self, toxic: Toxic, direction: Direction = Direction.DOWNSTREAM) -> None:
        """Raises ValueError where it was not added."""
        self._toxics[direction].remove(toxic)
        self._changed()

    @contextlib.contextmanager
    def toxic(self, toxic: Toxic, *directions: Direction) -> Iterator[None]:
        """Adds it, to both directions where none is named, and removes it at the end of the block."""
        chosen = directions or tuple(Direction)
        for direction in chosen:
            self.add(toxic, direction)
        try:
            yield
        finally:
            for direction in chosen:
                self.remove(toxic, direction)

    def _changed(self) -> None:
        for link in self._links:
            link.changed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                server = await asyncio.open_connection(*self._target)
        except (OSError, TimeoutError):
            _reset(writer)
            return
        link = _Link((reader, writer), server, self._toxics, self._chance)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection: a client, the server, and a flow each way."""

    def __init__(
        self, client: _End, server: _End, toxics: dict[Direction, list[Toxic]], chance: random.Random
    ) -> None:
        self._writers = (client[1], server[1])
        self._flows = (
            _Flow(client[0], server[1], toxics[Direction.UPSTREAM], chance),
            _Flow(server[0], client[1], toxics[Direction.DOWNSTREAM], chance),
        )
        self._tasks: list[asyncio.Task[None]] = []
        self.over = asyncio.Event()

    async def run(self) -> None:
        """Until either both directions have ended or one broke."""
        self._tasks = [
            asyncio.create_task(step) for flow in self._flows for step in (flow.take(), flow.give())
        ]
        try:
            ended, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
            self._settle([task.exception() for task in ended if not task.cancelled()])
        finally:
            self.cut()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.over.set()

    def _settle(self, errors: list[BaseException | None]) -> None:
        """One end that broke, or a toxic, ends the whole connection; anything else is a bug of ours."""
        if any(isinstance(error, _Reset) for error in errors):
            self.cut(reset=True)
        for error in errors:
            if error is not None and not isinstance(error, (OSError, _Reset, _Closed)):
                raise error

    def changed(self) -> None:
        """The toxics are others than before."""
        for flow in self._flows:
            flow.changed()

    def cut(self, reset: bool = False) -> None:
        """Ends it now; `reset` with an RST."""
        for writer in self._writers:
            if reset:
                _reset(writer)
            else:
                writer.close()
        for task in self._tasks:
            task.cancel()


class _Reset(Exception):
    """The connection is to be reset."""


class _Closed(Exception):
    """The connection is to be closed."""


class _Flow:
    """One direction of one connection. Taking and giving are apart, so that a delay costs no throughput."""

    def __init__(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        toxics: list[Toxic],
        chance: random.Random,
    ) -> None:
        self._source = source
        self._sink = sink
        self._toxics = toxics
        self._chance = chance
        # What was read and when; no bytes is the end.
        self._held: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._passed_bytes = 0
        self._news = asyncio.Event()
        self._began = _time()

    def changed(self) -> None:
        """The toxics are others than before."""
        self._began = _time()
        self._news.set()

    async def take(self) -> None:
        """Reads until the end, no further ahead than is allowed."""
        while True:
            data = await self._source.read(_READ_MOST_BYTES)
            self._held.append((_time(), data))
            self._held_bytes += len(data)
            self._news.set()
            if not data:
                return
            while self._held_bytes > _HELD_MOST_BYTES:
                await self._next_news()

    async def give(self) -> None:
        """Writes what was read, as the toxics allow."""
        while True:
            await self._until_allowed()
            read_at, data = self._held.popleft()
            self._held_bytes -= len(data)
            await self._late(read_at)
            if not data:
                await self._end()
                return
            for piece in self._pieces(data):
                await self._until_allowed(waiting=True)
                await self._pass(piece)
            self._news.set()

    async def _until_allowed(self, waiting: bool = False) -> None:
        """Until there is something to give, or `waiting` says there is, and nothing holds it back. Raises
        _Reset or _Closed when the connection's time is up."""
        while True:
            left_s = self._time_left_s()
            dark = any(isinstance(toxic, BlackHole) for toxic in self._toxics)
            if not dark and (waiting or self._held):
                return
            await self._next_news(left_s)

    def _time_left_s(self) -> float | None:
        """Seconds until a toxic ends the connection; None where none will. Raises _Reset or _Closed."""
        left_s: float | None = None
        for toxic in self._toxics:
            match toxic:
                case ResetPeer(after_s):
                    this_s = _left_s(self._began + after_s, _Reset())
                case BlackHole(close_after_s) if close_after_s is not None:
                    this_s = _left_s(self._began + close_after_s, _Closed())
                case _:
                    continue
            left_s = this_s if left_s is None else min(left_s, this_s)
        return left_s

    async def _next_news(self, limit_s: float | None = None) -> None:
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._news.wait()

    async def _late(self, read_at: float) -> None:
        delay_s = sum(
            max(0.0, toxic.delay_s + self._chance.uniform(-toxic.jitter_s, toxic.jitter_s))
            for toxic in self._toxics
            if isinstance(toxic, Latency)
        )
        if delay_s:
            await asyncio.sleep(max(0.0, read_at + delay_s - _time()))

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        slicer = next((toxic for toxic in self._toxics if isinstance(toxic, Slicer)), None)
        while data:
            size = len(data)
            if slicer is not None:
                spread = slicer.variation_bytes
                size = max(1, slicer.size_bytes + self._chance.randint(-spread, spread))
            yield data[:size]
            data = data[size:]

    async def _pass(self, piece: bytes) -> None:
        limits = [toxic.most_bytes for toxic in self._toxics if isinstance(toxic, LimitData)]
        room = min(limits, default=len(piece) + self._passed_bytes) - self._passed_bytes
        piece = piece[: max(0, room)]
        self._sink.write(piece)
        await self._sink.drain()
        self._passed_bytes += len(piece)
        if limits and self._passed_bytes >= min(limits):
            raise _Closed
        for toxic in self._toxics:
            match toxic:
                case Bandwidth(bytes_per_s):
                    await asyncio.sleep(len(piece) / bytes_per_s)
                case Slicer(delay_s=delay_s):
                    await asyncio.sleep(delay_s)

    async def _end(self) -> None:
        """Passes the end on: the other direction may go on for a while."""
        for toxic in self._toxics:
            if isinstance(toxic, SlowClose):
                await asyncio.sleep(toxic.delay_s)
        if self._sink.can_write_eof():
            self._sink.write_eof()


def _left_s(moment: float, late: Exception) -> float:
    """Seconds until `moment`. Raises `late` where it has passed."""
    left_s = moment - _time()
    if left_s <= 0:
        raise late
    return left_s


def _time() -> float:
    return asyncio.get_running_loop().time()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes so that the peer gets an RST: with lingering on and no time for it."""
    found = writer.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
