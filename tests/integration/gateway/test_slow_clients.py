"""Clients that are slow: their headers, bodies and messages come a byte a second, or they read nothing of what they
asked for. Each is given up after a time that is known; others are served meanwhile, and the gateway does not grow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import h2.events
import pytest

from tests.integration.gateway.test_http2 import CONTINUATION, HEADERS, Peer, crowd, frame, peer, request

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

SEND = "/api/v1/notifications"
# So many of each kind, and how much later than its limit a client may be told.
CLIENTS = 40
LATE_S = 4.0
GIVE_UP_S = 40.0
# What a socket is sent, and what one is sent that does not read.
MUCH_BYTES, TOO_MUCH_BYTES = 1 << 16, 1 << 23
# `a: b`, as HPACK writes what no table has.
ODD_HEADER = b"\x00\x01a\x01b"


def head(gateway: Gateway, path: str, *more: str) -> bytes:
    """The headers of a POST over HTTP/1.1, all but their end."""
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {gateway.token()}", *more]
    return "\r\n".join(lines).encode() + b"\r\n"


async def drip(gateway: Gateway, first: bytes, byte: bytes) -> str:
    """Sends this, and then that once a second, until there is an answer. Gives its status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(first)
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                with contextlib.suppress(TimeoutError):
                    answer = await asyncio.wait_for(reader.read(1_000), 1.0)
                    return answer.split(b" ", 2)[1].decode() if answer else "hung up"
                writer.write(byte)
    finally:
        writer.transport.abort()


async def body(gateway: Gateway, path: str) -> str:
    fields = ("Content-Type: application/json", "Content-Length: 10000", "", "{")
    return await drip(gateway, head(gateway, path, *fields).removesuffix(b"\r\n"), b" ")


async def chunks(gateway: Gateway) -> str:
    fields = ("Content-Type: application/json", "Transfer-Encoding: chunked", "")
    return await drip(gateway, head(gateway, SEND, *fields), b"1\r\n \r\n")


async def headers(gateway: Gateway) -> str:
    return await drip(gateway, head(gateway, SEND) + b"X-Slow: ", b"a")


async def headers_of_http2(gateway: Gateway) -> str:
    """A frame of headers, and then further ones that never end them."""
    async with peer(gateway) as found:
        async for event in found.events(GIVE_UP_S):
            # Nothing may come between the frames.
            if isinstance(event, h2.events.SettingsAcknowledged):
                break
        await found.send()
        found.writer.write(frame(HEADERS, 0, 1, found.state.encoder.encode(request(gateway))))
        return await drips(found, lambda: found.writer.write(frame(CONTINUATION, 0, 1, ODD_HEADER)))


async def body_of_http2(gateway: Gateway) -> str:
    return await data(gateway, [*request(gateway, SEND, "POST"), ("content-type", "application/json")], b"{")


async def message(gateway: Gateway) -> str:
    """A call by gRPC, whose message is said to be of a kilobyte."""
    path = "/crown.notification.v1.InboxService/ListNotifications"
    fields = [("content-type", "application/grpc"), ("te", "trailers")]
    return await data(gateway, [*request(gateway, path, "POST"), *fields], b"\0\0\0\4\0")


async def data(gateway: Gateway, fields: list[tuple[str, str]], first: bytes) -> str:
    async with peer(gateway) as found:
        found.state.send_headers(1, fields)
        found.state.send_data(1, first)
        return await drips(found, lambda: found.state.send_data(1, b"\0"))


async def drips(found: Peer, act: Callable[[], None]) -> str:
    """Acts once a second until the stream has its answer. Gives the status, by gRPC that of gRPC."""
    limit = time.monotonic() + GIVE_UP_S
    while time.monotonic() < limit:
        act()
        try:
            await found.send()
        except ConnectionError:
            return "hung up"
        async for event in found.events(1.0):
            if isinstance(event, h2.events.ResponseReceived):
                named = {bytes(k): bytes(v).decode() for k, v in event.headers}
                return named.get(b"grpc-status", named[b":status"])
            if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                return "hung up"
        if found.reader.at_eof():
            return "hung up"
    raise TimeoutError


# What comes slowly: after how many seconds it is given up, and with which answers.
KINDS: dict[str, tuple[Callable[[Gateway], Awaitable[str]], float, set[str]]] = {
    "headers": (headers, 10, {"408"}),
    "headers of HTTP/2": (headers_of_http2, 10, {"408", "hung up"}),
    "body": (lambda gateway: body(gateway, SEND), 20, {"408"}),
    "body in chunks": (chunks, 20, {"408"}),
    "body of HTTP/2": (body_of_http2, 20, {"408"}),
    "body of a bulk": (lambda gateway: body(gateway, f"{SEND}/bulk"), 25, {"408"}),
    "body of a poll": (lambda gateway: body(gateway, "/socket/longpoll"), 25, {"408"}),
    "body of a callback": (lambda gateway: body(gateway, "/webhooks/sendgrid"), 15, {"408"}),
    # DEADLINE_EXCEEDED
    "message of gRPC": (message, 15, {"4"}),
}


@pytest.mark.usefixtures("unharmed")
async def test_who_sends_a_byte_a_second_is_given_up_and_told_so(gateway: Gateway) -> None:
    async def one(kind: str) -> tuple[str, str, float]:
        began = time.monotonic()
        told = await KINDS[kind][0](gateway)
        return kind, told, time.monotonic() - began

    found = await asyncio.gather(*(one(kind) for kind in KINDS for _ in range(CLIENTS)))
    for kind, (_, limit_s, answers) in KINDS.items():
        took = [s for name, _, s in found if name == kind]
        told = Counter(told for name, told, _ in found if name == kind)
        assert set(told) <= answers, (kind, told)
        assert limit_s - 2 < min(took), (kind, min(took))
        assert max(took) < limit_s + LATE_S, (kind, max(took))


class Socket(asyncio.Protocol):
    """A client of a WebSocket below its library, which is sent much. It counts what it gets."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._size = 0
        self.full = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for as much as is wanted."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        upgrade = f"Host: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}"
        transport.write(f"GET /socket/websocket?flood={self._wanted} HTTP/1.1\r\n{upgrade}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Counts it."""
        self._size += len(data)
        if self._size > self._wanted:
            self.full.set()

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        del error


async def open_socket(gateway: Gateway, *, reads: bool) -> Socket:
    # What the kernel keeps for who does not read has to be little.
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18 if reads else 1 << 12)
    own.setblocking(False)
    await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", gateway.port))
    transport, found = await asyncio.get_running_loop().create_connection(
        lambda: Socket(MUCH_BYTES if reads else TOO_MUCH_BYTES), sock=own
    )
    if not reads:
        transport.pause_reading()
    return found


@pytest.mark.usefixtures("unharmed")
async def test_sockets_that_stop_reading_fill_nothing_here(gateway: Gateway) -> None:
    """A hundred of a thousand: the others get what is for them, and of what these do not read the gateway keeps
    little. Their service is told by what it cannot send."""
    opened: list[Socket] = []
    try:
        for number in range(1_000):
            opened.append(await open_socket(gateway, reads=number % 10 != 0))
        async with asyncio.timeout(30):
            await asyncio.gather(*(one.full.wait() for number, one in enumerate(opened) if number % 10))
        assert not any(one.full.is_set() for one in opened[::10])
    finally:
        for one in opened:
            one.transport.abort()


# The last here: what it has once taken a process does not give back. 25 KiB each.
@pytest.mark.parametrize("unharmed", [400 << 20], indirect=True)
@pytest.mark.usefixtures("unharmed")
async def test_ten_thousand_calls_that_are_never_finished_are_given_up(gateway: Gateway) -> None:
    """Each of ten connections has as many under way as it may, all of them without their bodies."""
    fields = [*request(gateway, SEND, "POST"), ("content-type", "application/json"), ("content-length", "10")]

    async def hold(number: int) -> Counter[str]:
        # What begins at the same moment ends at the same moment.
        await asyncio.sleep(number / 2)
        return await crowd(gateway, fields, 1_000, flags=0)

    told = await asyncio.gather(*(hold(number) for number in range(10)))
    assert sum(told, Counter()) == {"408": 10_000}
