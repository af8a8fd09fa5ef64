"""The fault proxy, in front of a small server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.fault.proxy import Direction, Proxy
from tests.fault.toxics import Bandwidth, BlackHole, Latency, LimitData, ResetPeer, Slicer, SlowClose

pytestmark = pytest.mark.timeout(20)

UP, DOWN = Direction.UPSTREAM, Direction.DOWNSTREAM
_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def _behind_proxy(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = _echo,
) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Proxy("127.0.0.1", port, chance=random.Random(1)) as proxy:
        yield proxy
    server.close()


@contextlib.asynccontextmanager
async def _client(proxy: Proxy) -> AsyncIterator[_Stream]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _round_trip_s(stream: _Stream, data: bytes = b"ping") -> float:
    reader, writer = stream
    began = time.monotonic()
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    return time.monotonic() - began


async def _silent(reader: asyncio.StreamReader, for_s: float = 0.1) -> bool:
    try:
        async with asyncio.timeout(for_s):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def test_without_toxics_everything_passes() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as (reader, writer):
        data = random.Random(2).randbytes(3 << 20)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        assert proxy.connections == 1


async def test_the_end_passes_in_each_direction_by_itself() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())
        writer.close()

    async with _behind_proxy(answer_at_the_end) as proxy, _client(proxy) as (reader, writer):
        writer.write(b"all")
        writer.write_eof()
        assert await reader.read() == b"got all"


async def test_latency_delays_one_direction_and_costs_no_throughput() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as stream:
        with proxy.toxic(Latency(0.1), DOWN):
            assert 0.1 <= await _round_trip_s(stream) < 0.5
            # A hundred reads under way at once, each a tenth of a second late: not ten seconds.
            assert await _round_trip_s(stream, bytes(6 << 20)) < 2.0
        assert await _round_trip_s(stream) < 0.1


async def test_jitter_keeps_the_order() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as (reader, writer):
        with proxy.toxic(Latency(0.01, jitter_s=0.01), UP):
            for number in range(20):
                writer.write(number.to_bytes(1, "big"))
                await writer.drain()
                await asyncio.sleep(0)
            assert await reader.readexactly(20) == bytes(range(20))


async def test_bandwidth_bounds_the_rate() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as stream:
        with proxy.toxic(Bandwidth(1 << 20), UP):
            assert await _round_trip_s(stream, bytes(200 << 10)) >= 0.15


async def test_a_black_hole_holds_back_and_lets_go() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as (reader, writer):
        with proxy.toxic(BlackHole(), UP):
            writer.write(b"ping")
            assert await _silent(reader)
        assert await reader.readexactly(4) == b"ping"


async def test_a_black_hole_swallows_answers_alone() -> None:
    heard = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        heard.set()
        await reader.read()
        writer.close()

    async with _behind_proxy(hear) as proxy, _client(proxy) as (reader, writer):
        with proxy.toxic(BlackHole(), DOWN):
            writer.write(b"ping")
            await heard.wait()
            assert await _silent(reader)


async def test_a_black_hole_may_end_in_a_close() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as (reader, _writer):
        with proxy.toxic(BlackHole(close_after_s=0.05)):
            assert await reader.read() == b""


async def test_a_new_connection_meets_the_toxics_that_are_there() -> None:
    async with _behind_proxy() as proxy:
        with proxy.toxic(BlackHole()):
            async with _client(proxy) as (reader, writer):
                writer.write(b"ping")
                assert await _silent(reader)


async def test_reset_peer_lets_pass_what_comes_before() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as stream:
        with proxy.toxic(ResetPeer(after_s=0.3), DOWN):
            await _round_trip_s(stream)
            with pytest.raises(ConnectionResetError):
                await stream[0].read(1)


async def test_every_connection_can_be_reset_once() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as stream:
        await _round_trip_s(stream)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await stream[0].read(1)
        async with _client(proxy) as another:
            await _round_trip_s(another)


async def test_the_server_sees_a_reset_too() -> None:
    seen: asyncio.Future[type[Exception]] = asyncio.get_running_loop().create_future()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        try:
            await reader.read()
        except ConnectionError as error:
            seen.set_result(type(error))
        writer.close()

    async with _behind_proxy(wait_for_the_end) as proxy, _client(proxy) as (client, _):
        await client.readexactly(5)
        proxy.reset()
        async with asyncio.timeout(5):
            assert await seen is ConnectionResetError


async def test_slow_close_delays_the_end() -> None:
    async def close_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()

    async with _behind_proxy(close_at_once) as proxy:
        with proxy.toxic(SlowClose(0.2), DOWN):
            async with _client(proxy) as (reader, _writer):
                assert await reader.readexactly(3) == b"bye"
                began = time.monotonic()
                assert await reader.read() == b""
                assert time.monotonic() - began >= 0.15


async def test_limit_data_closes_after_so_many_bytes() -> None:
    async with _behind_proxy() as proxy:
        with proxy.toxic(LimitData(10), DOWN):
            async with _client(proxy) as (reader, writer):
                writer.write(bytes(range(30)))
                assert await reader.read() == bytes(range(10))


async def test_the_slicer_cuts_into_pieces() -> None:
    sizes: list[int] = []
    done = asyncio.Event()

    async def measure(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            sizes.append(len(data))
        done.set()
        writer.close()

    async with _behind_proxy(measure) as proxy:
        with proxy.toxic(Slicer(10, variation_bytes=3, delay_s=0.01), UP):
            async with _client(proxy) as (_reader, writer):
                writer.write(bytes(100))
                writer.write_eof()
                await done.wait()
    assert sum(sizes) == 100
    assert len(sizes) > 5


async def test_down_cuts_and_refuses_until_it_is_up_again() -> None:
    async with _behind_proxy() as proxy:
        async with _client(proxy) as stream:
            await _round_trip_s(stream)
            await proxy.down()
            assert await stream[0].read() == b""
            assert proxy.connections == 0
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.up()
        async with _client(proxy) as stream:
            await _round_trip_s(stream)


async def test_a_server_that_is_away_looks_like_one_that_resets() -> None:
    async with Proxy("127.0.0.1", 1) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_sender_feels_that_nobody_reads() -> None:
    async with _behind_proxy() as proxy, _client(proxy) as (_reader, writer):
        with proxy.toxic(BlackHole()):
            writer.write(bytes(64 << 20))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await writer.drain()
            writer.transport.abort()
