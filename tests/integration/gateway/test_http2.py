"""What HTTP/2 lets one client do to a server: reset what it asks for, never end its headers, never read, ask for very
much at once. Others are served meanwhile, and the gateway stays as small as it was."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
import pytest

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

LIST = "/api/v1/users/user123/notifications"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, GO_AWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


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


def status(fields: Iterable[hpack.HeaderTuple]) -> str:
    """Of an answer, or of a call by gRPC that was answered at once."""
    named = {str(name): str(value) for name, value in fields}
    return named.get("grpc-status", named.get(":status", ""))


async def crowd(gateway: Gateway, fields: list[tuple[str, str]], number: int, flags: int) -> Counter[str]:
    """Asks so often at once over one connection. Counts what is told to each: a status, or that it is refused; the
    rest was hung up on. Frame by frame, since a library would have more to do than the gateway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    told: dict[bytes, str] = {}
    encoder, decoder = hpack.Encoder(), hpack.Decoder()
    # Without a table, so that every stream has the same bytes.
    encoder.header_table_size = 0
    block = encoder.encode(fields)
    try:
        writer.write(
            PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big"))
        )
        for at in range(number):
            writer.write(frame(HEADERS, END_HEADERS | flags, 1 + 2 * at, block))
        async with asyncio.timeout(40):
            while len(told) < number:
                start = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(start[:3], "big"))
                if start[3] == HEADERS:
                    told.setdefault(start[5:], status(decoder.decode(payload)))
                elif start[3] == RESET:
                    told.setdefault(start[5:], "refused")
                elif start[3] == SETTINGS and not start[4] & ACK:
                    writer.write(frame(SETTINGS, ACK, 0))
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()
    return Counter(told.values()) + Counter({"hung up": number - len(told)})


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
    # Ten times that, whatever the gateway said.
    told = await crowd(gateway, request(gateway, "/healthz"), 10_000, END_STREAM)
    assert told["200"] + told["refused"] + told["hung up"] == 10_000
    assert told["200"]


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
