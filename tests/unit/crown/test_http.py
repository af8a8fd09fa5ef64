"""What a broken call tells: whether the provider may have heard it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from crown import lease
from crown.http import CallBroken, Http
from crown.outcome import Retry, Unknown
from tests import ports

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(conversation: Conversation) -> AsyncIterator[str]:
    """A server that does with every connection what `conversation` says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conversation(reader, writer)
        finally:
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    finally:
        running.close()


def says(answer: bytes) -> Conversation:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"the end")
        writer.write(answer)
        await writer.drain()

    return talk


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"the end")
    await asyncio.sleep(5)


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http(connections=1, timeout_s=0.3)
    yield client
    await client.close()


async def test_an_answer(http: Http) -> None:
    async with server(says(b"HTTP/1.1 202 OK\r\nX-Message-Id: m1\r\nContent-Length: 2\r\n\r\nok")) as url:
        answer = await http.post(url, {}, b"the end")
    assert (answer.status, answer.headers["x-message-id"], answer.body) == (202, "m1", b"ok")


async def test_a_redirect_is_an_answer(http: Http) -> None:
    async with server(
        says(b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    ) as url:
        assert (await http.post(url, {}, b"the end")).status == 302


async def test_an_answer_that_is_cut_off_has_its_status(http: Http) -> None:
    async with server(says(b"HTTP/1.1 400 X\r\nContent-Length: 100\r\n\r\n{")) as url:
        answer = await http.post(url, {}, b"the end")
    assert (answer.status, answer.body) == (400, b"{")


async def test_an_endless_answer_is_not_read_to_its_end(http: Http) -> None:
    head = b"HTTP/1.1 200 X\r\nContent-Length: 9000000\r\n\r\n"
    async with server(says(head + b"x" * 9_000_000)) as url:
        assert len((await http.post(url, {}, b"the end")).body) == 1 << 20


@pytest.mark.parametrize(
    ("conversation", "word"),
    [
        pytest.param(silent, "TIMEOUT", id="no answer"),
        pytest.param(says(b""), "CONNECTION_LOST", id="closed without an answer"),
        pytest.param(says(b"HELLO\r\n\r\n"), "ANSWER_GARBLED", id="no HTTP"),
    ],
)
async def test_broken_after_writing_is_unknown(http: Http, conversation: Conversation, word: str) -> None:
    async with server(conversation) as url:
        with pytest.raises(CallBroken) as broken:
            await http.post(url, {}, b"the end")
    assert broken.value.outcome == Unknown(word)


async def test_an_answer_that_came_while_the_process_was_stopped_counts(http: Http) -> None:
    def answer_late(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 202 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(answer_late, listening))
        # Before it reads the answer the process stands still until long after its time.
        asyncio.get_running_loop().call_later(0.1, time.sleep, 0.6)
        answer = await http.post(f"http://127.0.0.1:{listening.getsockname()[1]}", {}, b"the end")
        assert (answer.status, answer.body) == (202, b"ok")
        await http.close()
        await serving


async def test_where_the_lease_is_over_nothing_is_written(http: Http) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def listens(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read())

    async with server(listens) as url:
        with lease.until(lease.clock() - 0.001), pytest.raises(CallBroken) as broken:
            await http.post(url, {}, b"the end")
        assert await heard == b""
    assert broken.value.outcome == lease.OVER


async def test_the_lease_is_looked_at_when_there_is_a_connection() -> None:
    """Not before: it may take a while to get one."""
    http = Http(connections=1)
    async with server(silent) as url:
        patient = asyncio.create_task(_patient(http, url))
        await asyncio.sleep(0.05)
        with lease.until(lease.clock() + 0.1):
            calling = asyncio.create_task(http.post(url, {}, b"the end"))
        await asyncio.sleep(0.15)
        patient.cancel()
        with pytest.raises(CallBroken) as broken:
            await calling
        await http.close()
    assert broken.value.outcome == lease.OVER


async def test_an_empty_body_is_written_too(http: Http) -> None:
    async def hangs_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with server(hangs_up) as url:
        with pytest.raises(CallBroken) as broken:
            await http.post(url, {}, b"")
    assert broken.value.outcome == Unknown("CONNECTION_LOST")


async def test_nobody_listens(http: Http, unused: int) -> None:
    with pytest.raises(CallBroken) as broken:
        await http.post(f"http://127.0.0.1:{unused}", {}, b"the end")
    assert broken.value.outcome == Retry("CONNECT_FAILED")


async def test_no_such_host(http: Http) -> None:
    with pytest.raises(CallBroken) as broken:
        await http.post("http://nowhere.invalid", {}, b"the end")
    # Some resolvers are slower than the time limit; nothing was written either way.
    assert broken.value.outcome in (Retry("HOST_NOT_FOUND"), Retry("TIMEOUT"))


async def test_no_tls_on_the_other_side(http: Http) -> None:
    async with server(says(b"")) as url:
        with pytest.raises(CallBroken) as broken:
            await http.post(url.replace("http:", "https:"), {}, b"the end")
    assert isinstance(broken.value.outcome, Retry)


async def test_waiting_for_a_connection_writes_nothing(http: Http) -> None:
    async with server(silent) as url:
        # The only connection is taken by a call without a time limit.
        patient = asyncio.create_task(_patient(http, url))
        await asyncio.sleep(0.05)
        with pytest.raises(CallBroken) as broken:
            await http.post(url, {}, b"the end")
        patient.cancel()
    assert broken.value.outcome == Retry("TIMEOUT")


async def _patient(http: Http, url: str) -> None:
    timeout = aiohttp.ClientTimeout(total=None)
    await http._session.post(url, data=b"the end", timeout=timeout)


@pytest.fixture
def unused() -> int:
    return ports.free()
