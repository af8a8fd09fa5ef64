"""Following a feed on a real WebSocket server that does what real ones do: closes, stalls, floods, lies."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from crown import metrics
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from services.realtime.relay import connection, mapping
from services.realtime.relay.connection import MESSAGE_MOST_BYTES, Pace
from services.realtime.relay.document import Path as At
from services.realtime.relay.feed import Feed, Rule
from services.realtime.relay.follower import Follower
from services.realtime.relay.outbox import Outbox
from services.realtime.relay.template import Template

Talk = Callable[[web.WebSocketResponse], Awaitable[None]]
RULE = Rule(1, (), At.of("id"), {"title": Template.of("{title}")}, user_id=At.of("user"))


class Soon(random.Random):
    """Hardly a wait; keeps how long it might have been."""

    def __init__(self) -> None:
        super().__init__()
        self.most: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        """See Random."""
        self.most.append(b)
        return 0.001


class FakeIngest:
    """Says yes to all, once `gate` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.taken: list[SendNotificationRequest] = []

    async def take(self, request: SendNotificationRequest) -> str:
        """See Taker."""
        await self.gate.wait()
        self.taken.append(request)
        return "n"

    @property
    def keys(self) -> list[str]:
        return [request.idempotency_key for request in self.taken]


class Server:
    """A feed. `talk` is what it does with each connection."""

    def __init__(self, talk: Talk, protocols: tuple[str, ...] = ()) -> None:
        self._talk = talk
        self._protocols = protocols
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.path == "/forbidden":
            return web.Response(status=403)
        if request.path == "/elsewhere":
            return web.Response(status=302, headers={"Location": "/"})
        socket = web.WebSocketResponse(protocols=self._protocols, autoping=False)
        await socket.prepare(request)
        await self._talk(socket)
        return socket

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        try:
            yield f"{'ws' if tls is None else 'wss'}://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


class Following:
    """A follower at work."""

    def __init__(self, feed: Feed, ingest: FakeIngest, outbox: Outbox, chance: Soon) -> None:
        self.feed = feed
        self.ingest = ingest
        self.outbox = outbox
        self.chance = chance

    def connected(self) -> float:
        return float(metrics.RELAY_FEEDS.labels(self.feed.name)._value.get())

    def events(self, outcome: str) -> float:
        return float(metrics.RELAY_EVENTS.labels(self.feed.name, outcome)._value.get())


_count = iter(range(1_000))


@asynccontextmanager
async def following(
    url: str, pace: Pace = connection.USUAL, most: int = 10, **given: Any
) -> AsyncIterator[Following]:
    feed = Feed(**{"name": f"feed{next(_count)}", "url": url, "rules": (RULE,), **given})
    ingest, chance = FakeIngest(), Soon()
    async with asyncio.timeout(20), connection.session() as http, asyncio.TaskGroup() as tasks:
        outbox = Outbox(feed.name, ingest, most, tasks, chance)
        task = tasks.create_task(Follower(feed, http, outbox, pace, chance).run())
        try:
            yield Following(feed, ingest, outbox, chance)
        finally:
            task.cancel()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 -- counters tell nobody
            await asyncio.sleep(0.005)


def event(event_id: object, **more: Any) -> str:
    return json.dumps({"id": event_id, "user": "ann", "title": "Hi", **more})


async def stay(socket: web.WebSocketResponse) -> None:
    """Answers pings and the end, and is silent otherwise."""
    async for message in socket:
        if message.type is WSMsgType.PING:
            await socket.pong(message.data)


def saying(*messages: str | bytes) -> Talk:
    async def talk(socket: web.WebSocketResponse) -> None:
        for message in messages:
            data = message.encode() if isinstance(message, str) else message
            await socket.send_frame(data, WSMsgType.TEXT)
        await stay(socket)

    return talk


async def test_events_become_notifications() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str(event(1))
        await socket.send_bytes(event("b").encode())
        await stay(socket)

    async with Server(talk).listening() as url, following(url) as found:
        await until(lambda: len(found.ingest.taken) == 2)
        assert found.connected() == 1
        assert found.ingest.keys == [mapping.key(found.feed.name, "1"), mapping.key(found.feed.name, "b")]
    assert found.connected() == 0


async def test_what_is_of_no_use_is_counted_and_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    bad: list[str | bytes] = ["no json", b"\xff{}", "[" * 9_000, event(None), event(None), "[1]", "null"]
    async with Server(saying(*bad, event("good"))).listening() as url, following(url) as found:
        await until(lambda: found.ingest.taken)
        assert [found.events(one) for one in ("undecodable", "unmappable", "matched")] == [3, 4, 5]
        assert len(found.ingest.taken) == 1
        assert len(found.chance.most) == 0  # and the connection stood
    # One word for each cause, which are two: no id, and no title.
    assert capsys.readouterr().out.count("event_unmappable") == 2


async def test_unmatched_events_are_counted() -> None:
    async with Server(saying(event(1))).listening() as url, following(url, rules=()) as found:
        await until(lambda: found.events("unmatched") == 1)
        assert found.ingest.taken == []


async def test_it_shows_headers_and_subprotocols_and_says_its_words(tmp_path: Path) -> None:
    heard: list[str] = []

    async def talk(socket: web.WebSocketResponse) -> None:
        heard.append(str(socket.ws_protocol))
        async for message in socket:
            heard.append(message.data)
            if len(heard) % 3 == 0:
                break

    file = tmp_path / "headers"
    file.write_text("X-Key: one")
    server = Server(talk, protocols=("v1", "v2"))
    given: dict[str, Any] = {"headers_file": file, "subprotocols": ("v2",), "send": ("hello", '{"a":1}')}
    async with server.listening() as url, following(url, **given):
        await until(lambda: len(heard) >= 3)
        # Renewed headers need no restart.
        file.write_text("X-Key: two")
        await until(lambda: server.requests[-1].headers["X-Key"] == "two")
        file.unlink()
    assert heard[:3] == ["v2", "hello", '{"a":1}']


async def test_a_lost_feed_is_connected_again_with_growing_patience() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str(event(1))

    server = Server(talk)
    async with server.listening() as url, following(url) as found:
        await until(lambda: len(server.requests) >= 9)
    assert found.chance.most[:8] == [0.5, 1, 2, 4, 8, 16, 32, 60]
    assert len(set(found.ingest.keys)) == 1


async def test_after_a_good_connection_waiting_begins_anew() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        if len(server.requests) == 3:
            await asyncio.sleep(0.3)

    server = Server(talk)
    async with server.listening() as url, following(url, Pace(steady_s=0.25)) as found:
        await until(lambda: len(server.requests) >= 5)
    assert found.chance.most[:4] == [0.5, 1, 0.5, 1]


@pytest.mark.parametrize("path", ["/forbidden", "/elsewhere"])
async def test_a_refused_handshake_is_tried_again_and_no_redirection_followed(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(stay)
    async with server.listening() as url, following(url + path) as found:
        await until(lambda: len(server.requests) >= 3)
        assert found.connected() == 0
    assert {request.path for request in server.requests} == {path}
    assert f"status {403 if path == '/forbidden' else 302}" in capsys.readouterr().out


async def test_nobody_there(free_port: int) -> None:
    async with following(f"ws://127.0.0.1:{free_port}") as found:
        await until(lambda: len(found.chance.most) >= 3)
    assert found.connected() == 0


async def test_who_does_not_answer_the_handshake_is_left(free_port: int) -> None:
    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", free_port)
    async with following(f"ws://127.0.0.1:{free_port}", Pace(connect_s=0.05)) as found:
        await until(lambda: len(found.chance.most) >= 2)
    server.close()


async def test_a_silent_feed_is_connected_again_although_it_answers_pings() -> None:
    server = Server(saying(event(1)))
    async with server.listening() as url, following(url, Pace(ping_s=0.05), idle_s=0.3) as found:
        began = time.monotonic()
        await until(lambda: len(server.requests) >= 3)
        assert time.monotonic() - began >= 0.6
    assert len(set(found.ingest.keys)) == 1


async def test_a_feed_that_answers_pings_may_be_silent() -> None:
    server = Server(stay)
    async with server.listening() as url, following(url, Pace(ping_s=0.02, pong_s=0.2)) as found:
        await asyncio.sleep(0.5)
        assert (len(server.requests), found.connected()) == (1, 1)


async def test_a_feed_that_does_not_answer_pings_is_left() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            pass

    server = Server(talk)
    async with server.listening() as url, following(url, Pace(ping_s=0.02, pong_s=0.05)) as found:
        await until(lambda: len(server.requests) >= 3)
        assert found.connected() in {0, 1}


async def test_its_pings_are_answered() -> None:
    pongs: list[bytes] = []

    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.ping(b"there?")
        async for message in socket:
            pongs.append(message.data)

    async with Server(talk).listening() as url, following(url):
        await until(lambda: pongs == [b"there?"])


async def test_a_message_beyond_the_bound_ends_the_connection_and_one_at_it_does_not() -> None:
    fits = event("fits", pad="")
    fits = event("fits", pad="x" * (MESSAGE_MOST_BYTES - len(fits) - 1))
    server = Server(saying(fits, event("big", pad="x" * MESSAGE_MOST_BYTES)))
    async with server.listening() as url, following(url) as found:
        await until(lambda: found.events("too_big") >= 1)
        await until(lambda: len(server.requests) >= 2)
    assert set(found.ingest.keys) == {mapping.key(found.feed.name, "fits")}


async def test_while_ingest_does_not_take_the_feed_is_not_read() -> None:
    said = 0

    async def talk(socket: web.WebSocketResponse) -> None:
        nonlocal said
        for number in range(400):
            await socket.send_str(event(number, pad="x" * 100_000))
            said += 1
        await stay(socket)

    # Busy for much longer than either is allowed to be silent.
    pace = Pace(ping_s=0.05, pong_s=0.05)
    async with Server(talk).listening() as url, following(url, pace, most=4, idle_s=0.4) as found:
        found.ingest.gate.clear()
        await until(lambda: found.events("matched") == 5)
        await asyncio.sleep(0.6)
        assert (found.events("matched"), len(found.outbox)) == (5, 4)
        assert said < 300  # the rest waits at the feed
        found.ingest.gate.set()
        await until(lambda: len(found.ingest.taken) == 400)
        assert len(found.chance.most) == 0  # all on one connection


async def test_a_broken_feed_does_not_disturb_another() -> None:
    async def broken(socket: web.WebSocketResponse) -> None:
        await socket.send_str("}{")

    async with Server(broken).listening() as bad, Server(saying(event(1))).listening() as good:
        async with following(bad) as one, following(good) as other:
            await until(lambda: len(one.chance.most) >= 3)
            await until(lambda: other.ingest.taken)
            assert other.connected() == 1
            assert other.chance.most == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


async def test_who_cannot_prove_who_he_is_gets_nothing(
    certificate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    (tmp_path / "headers").write_text("X-Key: hush")
    server = Server(saying(event(1)))
    # The refused handshake is news to the server's loop.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    async with server.listening(context) as url, following(url, headers_file=tmp_path / "headers") as found:
        await until(lambda: len(found.chance.most) >= 2)
    asyncio.get_running_loop().set_exception_handler(None)
    assert server.requests == []
    assert "TLS not verified" in capsys.readouterr().out
