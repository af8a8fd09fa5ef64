"""What HTTP/2 lets one client do to a server: reset what it asks for, never end its headers, never read, ask for very
much at once, send a byte now and then. Others are served meanwhile, and the gateway stays as small as it was."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import psutil
import pytest

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

LIST = "/api/v1/users/user123/notifications"
# What the gateway may hold more than before, and what somebody else's call may take beside it all.
GROWTH_MOST_BYTES = 64 << 20
CALM_MOST_S = 2.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, RESET, CONTINUATION = 4, 1, 3, 9
END_HEADERS = 4


class Peer:
    """A client of HTTP/2 that does as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(validate_outbound_headers=False)
        self.state = h2.connection.H2Connection(config)
        self.state.initiate_connection()

    async def send(self) -> None:
        """Sends what has been said so far."""
        self.writer.write(self.state.data_to_send())
        await self.writer.drain()

    async def events(self, seconds: float) -> AsyncIterator[h2.events.Event]:
        """What the server says within that time, and until it hangs up."""
        limit = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError, ConnectionError, h2.exceptions.ProtocolError):
            while (left := limit - time.monotonic()) > 0:
                data = await asyncio.wait_for(self.reader.read(65_536), left)
                if not data:
                    return
                for event in self.state.receive_data(data):
                    yield event
                await self.send()


@contextlib.asynccontextmanager
async def peer(gateway: Gateway) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    found = Peer(reader, writer)
    try:
        await found.send()
        yield found
    finally:
        writer.transport.abort()


def request(gateway: Gateway, path: str = LIST, method: str = "GET") -> list[tuple[str, str]]:
    pairs = [(":method", method), (":scheme", "http"), (":authority", "gateway"), (":path", path)]
    return [*pairs, ("authorization", f"Bearer {gateway.token()}")]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Others(threading.Thread):
    """Somebody else, who calls all the while. In a thread, so that what the loop here is busy with delays nobody."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.enough = threading.Event()
        self.statuses: set[int] = set()
        self.slowest_s = 0.0

    def run(self) -> None:
        """Calls until it is enough, and once at least."""
        while not (self.statuses and self.enough.wait(0.05)):
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            connection.request("GET", "/healthz")
            self.statuses.add(connection.getresponse().status)
            connection.close()
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


@pytest.fixture
def unharmed(gateway: Gateway) -> Iterator[None]:
    """Others are served meanwhile; and the gateway does not grow."""
    process = next(
        one for one in psutil.Process(os.getpid()).children() if Path(one.exe()).name.startswith("envoy")
    )
    before = process.memory_info().rss
    others = Others(gateway.port)
    others.start()
    try:
        yield
    finally:
        others.enough.set()
        others.join()
    assert others.statuses == {200}
    assert others.slowest_s < CALM_MOST_S
    assert process.memory_info().rss - before < GROWTH_MOST_BYTES


async def until_hung_up(found: Peer, act: Callable[[], Awaitable[None]], times: int) -> int:
    """Acts so often, or until the gateway hangs up. Answers how often that was."""
    for number in range(times):
        try:
            await act()
        except (ConnectionError, h2.exceptions.ProtocolError):
            return number
        if found.reader.at_eof():
            return number
    return times


@pytest.mark.usefixtures("unharmed")
async def test_who_resets_at_once_what_it_asks_for_is_hung_up_on(gateway: Gateway) -> None:
    async with peer(gateway) as found:
        headers = request(gateway)

        async def act() -> None:
            stream = found.state.get_next_available_stream_id()
            found.state.send_headers(stream, headers, end_stream=True)
            found.state.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            await found.send()
            await asyncio.sleep(0)

        done = await until_hung_up(found, act, 20_000)
        events = [event async for event in found.events(10)]
    ended = any(isinstance(event, h2.events.ConnectionTerminated) for event in events)
    assert ended or done < 20_000


@pytest.mark.usefixtures("unharmed")
async def test_who_never_ends_its_headers_is_hung_up_on(gateway: Gateway) -> None:
    async with peer(gateway) as found:
        encoded = found.state.encoder.encode(request(gateway))
        found.writer.write(frame(HEADERS, 0, 1, encoded))
        # A header of a kilobyte that nobody has named yet, again and again.
        more = found.state.encoder.encode([("x-more", "a" * 1_000)])

        async def act() -> None:
            found.writer.write(frame(CONTINUATION, 0, 1, more))
            await found.writer.drain()

        assert await until_hung_up(found, act, 100_000) < 100_000 or not [e async for e in found.events(5)]
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                while await found.reader.read(65_536):
                    pass


@pytest.mark.usefixtures("unharmed")
async def test_who_asks_for_very_much_at_once_is_answered_a_thousand_at_a_time(gateway: Gateway) -> None:
    async with peer(gateway) as found:
        async for event in found.events(2):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                break
        assert found.state.remote_settings.max_concurrent_streams == 1_000
        headers, ended = request(gateway, "/healthz"), 0
        # More than that, whatever the gateway said.
        found.state.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 100_000
        found.state.remote_settings.acknowledge()
        for _ in range(2_000):
            found.state.send_headers(found.state.get_next_available_stream_id(), headers, end_stream=True)
        await found.send()
        async for event in found.events(20):
            ended += isinstance(event, h2.events.StreamEnded | h2.events.StreamReset)
            if ended == 2_000 or isinstance(event, h2.events.ConnectionTerminated):
                break
        assert ended


@pytest.mark.usefixtures("unharmed")
async def test_who_never_reads_costs_no_more_than_its_window(gateway: Gateway) -> None:
    async with peer(gateway) as found:
        found.state.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        headers = request(gateway, "/demo/phoenix.mjs")
        for _ in range(100):
            found.state.send_headers(found.state.get_next_available_stream_id(), headers, end_stream=True)
        await found.send()
        data = [event async for event in found.events(3) if isinstance(event, h2.events.DataReceived)]
        assert not data


@pytest.mark.usefixtures("unharmed")
async def test_who_sends_its_headers_a_byte_at_a_time_is_told_so(gateway: Gateway) -> None:
    """Within ten seconds, over HTTP/1.1 as well."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        began = time.monotonic()
        text = f"GET {LIST} HTTP/1.1\r\nHost: gateway\r\nX-Slow: ".encode() + b"a" * 60
        writer.write(text[:-60])
        answer = b""
        for at in range(60):
            writer.write(text[-60 + at : -59 + at] or b"a")
            with contextlib.suppress(TimeoutError):
                answer = await asyncio.wait_for(reader.read(1_000), 0.5)
                break
        assert b" 408 " in answer
        assert 5 < time.monotonic() - began < 15
    finally:
        writer.transport.abort()
