"""What one client may take, over real sockets. The rules themselves are in tests/unit/services/realtime."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.integration.realtime.conftest import running
from tests.integration.realtime.test_connect import UPGRADE, status
from tests.integration.realtime.test_protocol import send_frame

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.integration.realtime.conftest import Nats, Node, Publisher, Trust

STRICT = {
    "CROWN_CONNECTIONS_PER_ADDRESS": "3",
    "CROWN_CONNECTIONS_PER_USER": "2",
    "CROWN_MESSAGE_RATE": "5",
    "CROWN_MESSAGE_BURST": "10",
}
UNLIMITED = {
    "CROWN_CONNECTIONS_PER_ADDRESS": "0",
    "CROWN_CONNECTIONS_PER_USER": "0",
    "CROWN_ACCEPT_RATE": "0",
    "CROWN_MESSAGE_RATE": "0",
}


@pytest.fixture(scope="module")
async def strict(nats: Nats, trust: Trust) -> AsyncIterator[Node]:
    """A process with small limits."""
    async with running(nats, trust, **STRICT) as found:
        yield found


@pytest.fixture(scope="module")
async def unlimited(nats: Nats, trust: Trust) -> AsyncIterator[Node]:
    """A process without them."""
    async with running(nats, trust, **UNLIMITED) as found:
        yield found


async def refusal(node: Node, url: str, headers: dict[str, str] | None = None) -> tuple[int, str | None]:
    """What a handshake is answered, and after how many seconds to come again."""
    async with node.http.get(url, headers={**UPGRADE, **(headers or {})}) as answer:
        return answer.status, answer.headers.get("Retry-After")


async def test_an_address_has_so_many_connections_and_others_have_theirs(
    strict: Node, trust: Trust, user: str
) -> None:
    mine, theirs = {"X-Forwarded-For": "198.51.100.1"}, {"X-Forwarded-For": "198.51.100.1, 198.51.100.2"}
    tokens = [trust.token(f"{user}-{number}") for number in range(3)]
    url = strict.url(vsn="2.0.0", token=tokens[0])
    async with AsyncExitStack() as stack:
        people = [await stack.enter_async_context(strict.person(token, headers=mine)) for token in tokens]
        assert await refusal(strict, url, mine) == (429, "10")
        assert (await refusal(strict, url, theirs))[0] == 101
        await people[0].connection.close()
        await until(lambda: answers(strict, url, mine, 101))


async def test_what_was_no_connection_does_not_count(strict: Node, trust: Trust, user: str) -> None:
    here = {"X-Forwarded-For": "198.51.100.3"}
    bad = strict.url(vsn="2.0.0", token="x")
    good = strict.url(vsn="2.0.0", token=trust.token(user))
    for _ in range(5):
        assert await refusal(strict, bad, here) == (403, None)
        # Taken for a good one until the library sees that it has no key.
        async with strict.http.get(good, headers={**UPGRADE, **here, "Sec-WebSocket-Key": "x"}) as answer:
            assert answer.status == 400
    assert (await refusal(strict, good, here))[0] == 101


async def test_a_person_has_so_many_connections_and_the_newest_loses(
    strict: Node, trust: Trust, user: str
) -> None:
    token = trust.token(user)
    async with strict.person(token) as one, strict.person(token) as two:
        async with strict.person(token) as three:
            assert await three.closed() == 3504
        for person in (one, two):
            assert (await person.join(f"user:{user}"))["status"] == "ok"
        await two.connection.close()
        async with strict.person(token) as four:
            assert (await four.join(f"user:{user}"))["status"] == "ok"


async def test_who_says_too_much_is_closed_with_3013(strict: Node, trust: Trust, user: str) -> None:
    async with strict.person(trust.token(user)) as person:
        for number in range(10):
            await person.say(None, str(number), "phoenix", "heartbeat", {})
        for number in range(10):
            assert (await person.hear())[1] == str(number)
        for _ in range(5):
            await person.say(None, "x", "phoenix", "heartbeat", {})
        assert await person.closed() == 3013


async def test_pings_count_too(strict: Node, trust: Trust, user: str) -> None:
    async with strict.person(trust.token(user)) as person:
        for _ in range(15):
            await person.connection.ping()
        while (message := await person.connection.receive(5)).type == aiohttp.WSMsgType.PONG:
            pass
        assert message.type == aiohttp.WSMsgType.CLOSE
        assert message.data == 3013


async def test_handshakes_come_so_fast_and_no_faster(
    nats: Nats, trust: Trust, run_node: Callable[..., AbstractAsyncContextManager[Node]]
) -> None:
    async with run_node(nats, CROWN_ACCEPT_RATE="5") as node:
        url = node.url(vsn="2.0.0", token="x")
        found = await asyncio.gather(*(refusal(node, url) for _ in range(30)))
        assert found.count((403, None)) >= 5
        assert found.count((503, "1")) >= 10
        assert len(found) == found.count((403, None)) + found.count((503, "1"))
        await until(lambda: answers(node, url, {}, 403))


async def test_endless_empty_fragments_close_with_1009(unlimited: Node, trust: Trust, user: str) -> None:
    async with unlimited.person(trust.token(user)) as person:
        await send_frame(person, 0x1, b"", final=False)
        for _ in range(1_100):
            await send_frame(person, 0x0, b"", final=False)
        assert await person.closed() == 1009


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param([None, "r" * 254, "phoenix", "heartbeat", {}], None, id="longest ref"),
        pytest.param([None, "r" * 255, "phoenix", "heartbeat", {}], 1011, id="ref"),
        pytest.param(["r" * 255, "1", "phoenix", "heartbeat", {}], 1011, id="join_ref"),
        pytest.param([None, {"a": "r" * 255}, "phoenix", "heartbeat", {}], 1011, id="ref that is an object"),
        pytest.param([None, "1", "t" * 4_096, "x", {}], None, id="longest topic"),
        pytest.param([None, "1", "t" * 4_097, "x", {}], 1011, id="topic"),
        pytest.param([None, "1", "phoenix", "e" * 4_097, {}], 1011, id="event"),
    ],
)
async def test_refs_and_names_are_of_a_reasonable_size(
    node: Node, trust: Trust, user: str, frame: list[object], code: int | None
) -> None:
    async with node.person(trust.token(user)) as person:
        await person.say(*frame)
        if code is None:
            assert (await person.hear())[1] == frame[1]
        else:
            assert await person.closed() == code


class Reader(asyncio.Protocol):
    """A client below its library: counts what it gets, and notes when it got notification `number`."""

    def __init__(self, request: bytes, join: bytes) -> None:
        self._request = request
        self._join = join
        self._seen = b""
        self.size = 0
        self.joined = asyncio.Event()
        self.lost = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for a socket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Joins, once it may; then counts."""
        self.size += len(data)
        if self.joined.is_set():
            return
        self._seen += data
        if self._join and b"\r\n\r\n" in self._seen:
            self.transport.write(self._join)
            self._join = b""
        if b"phx_reply" in self._seen:
            self.joined.set()

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        del error
        self.lost.set()


def masked(text: str) -> bytes:
    """A small text frame of a client."""
    data, mask = text.encode(), os.urandom(4)
    return bytes([0x81, 0x80 | len(data)]) + mask + bytes(b ^ mask[at % 4] for at, b in enumerate(data))


async def readers(node: Node, token: str, user: str, number: int) -> list[Reader]:
    """So many clients on the person's topic."""
    lines = [f"GET /socket/websocket?vsn=2.0.0&token={token} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in UPGRADE.items()]
    request = "\r\n".join([*lines, "", ""]).encode()
    join = masked(json.dumps(["1", "1", f"user:{user}", "phx_join", {}]))
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(number):
        _, reader = await loop.create_connection(
            lambda: Reader(request, join), "127.0.0.1", node.websocket_port
        )
        found.append(reader)
    await asyncio.gather(*(reader.joined.wait() for reader in found))
    return found


def memory_bytes(pid: int) -> int:
    """What a process holds in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_those_who_do_not_read_cost_a_bounded_part_and_delay_nobody(
    unlimited: Node,
    nats: Nats,
    trust: Trust,
    publish_on: Callable[[Nats], AbstractAsyncContextManager[Publisher]],
    user: str,
) -> None:
    slow = 'crown_socket_closes_total{code="3008"}'
    closed_before = await unlimited.metric(slow)
    async with publish_on(nats) as publisher:
        everybody = await readers(unlimited, trust.token(user), user, 200)
        stalled, reading = everybody[:20], everybody[20:]

        async def send(number: int) -> list[float]:
            delays = []
            for _ in range(number):
                began, before = time.monotonic(), reading[-1].size
                await publisher.notify(user, "n", title="t", message="x" * 8_000)
                while reading[-1].size == before:  # noqa: ASYNC110 -- another process
                    await asyncio.sleep(0.001)
                delays.append(time.monotonic() - began)
                await asyncio.sleep(max(0.0, 0.01 - delays[-1]))
            return sorted(delays)

        calm = await send(50)
        base = memory_bytes(unlimited.process.pid)
        for reader in stalled:
            reader.transport.pause_reading()
        most = base
        busy: list[float] = []
        async with asyncio.timeout(60):
            while await unlimited.metric(slow) < closed_before + 20:
                busy += await send(20)
                most = max(most, memory_bytes(unlimited.process.pid))
        assert most - base < 20 * (1 << 20) + (16 << 20)
        # The middle one, and with room: this machine has others on it.
        assert sorted(busy)[len(busy) // 2] < 2 * calm[len(calm) // 2] + 0.05
        assert not any(reader.lost.is_set() for reader in reading)
        assert len({reader.size for reader in reading}) == 1
        for reader in everybody:
            reader.transport.abort()


async def answers(node: Node, url: str, headers: dict[str, str], code: int) -> bool:
    """Whether a handshake is answered so."""
    return (await status(node, url, headers))[0] == code


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    """Waits until it is."""
    async with asyncio.timeout(10):
        while not await done():  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.1)
