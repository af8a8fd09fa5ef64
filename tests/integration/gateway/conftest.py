"""A real Envoy, rendered as everywhere, in front of small gRPC servers that write down what reaches them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import jwt
import psutil
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from yarl import URL

from gateway.render import HERE, render
from stack.servers import binary
from tests.collector import Collector, collecting
from tests.integration.gateway.others import Others

ISSUER = "crown-auth"
AUDIENCE = "crown-notification"
# As the stack deploys them: what runs behind which address of the gateway.
SERVERS = {
    "INGEST_ADDRESS": (
        *("ingest", "inbox", "group", "preference", "contact", "status"),
        *("dead_letter", "suppression", "person", "books", "schedule"),
    ),
    "EMAIL_ADDRESS": ("email", "email_callback", "template"),
    "PUSH_ADDRESS": ("push", "device"),
    "SMS_ADDRESS": ("sms", "sms_callback"),
    "REALTIME_ADDRESS": ("realtime",),
}
START_LIMIT_S = 20.0
# What the gateway may hold more than before, and what somebody else's call may take beside all that one client does.
GROWTH_MOST_BYTES = 64 << 20
CALM_MOST_S = 2.0
FLOOD = b"x" * 65_536


@dataclass(frozen=True)
class Call:
    """One call that reached a server."""

    address: str
    rpc: str
    message: Any
    metadata: dict[str, str]
    deadline_s: float


Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[Call, Context], Awaitable[Message | None]]
Answers = Callable[[Call, Context], AsyncIterator[Message]]


@dataclass
class Backend:
    """The servers behind the gateway. `answers` replaces what an RPC does, and `streams` what one does that
    streams; else it answers empty."""

    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    streams: dict[str, Answers] = field(default_factory=dict)
    servers: dict[str, grpc.aio.Server] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    async def start(self, address: str) -> None:
        """Starts the server that stands behind `address`, where it stood before if it ran before."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_metadata_size", 16 << 10)])
        for noun in SERVERS[address]:
            generated = importlib.import_module(f"crown.notification.v1.{noun}_service_pb2")
            (service,) = generated.DESCRIPTOR.services_by_name.values()
            stubs = importlib.import_module(f"crown.notification.v1.{noun}_service_pb2_grpc")
            getattr(stubs, f"add_{service.name}Servicer_to_server")(_Servicer(service, address, self), server)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        reflection.enable_server_reflection(["crown.notification.v1.InboxService"], server)
        port = server.add_insecure_port(self.addresses.get(address, "127.0.0.1:0"))
        await server.start()
        self.servers[address] = server
        self.addresses[address] = f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """Stops them all."""
        await asyncio.gather(*(server.stop(0) for server in self.servers.values()))

    @contextlib.asynccontextmanager
    async def without(self, address: str) -> AsyncIterator[int]:
        """Nothing listens at `address` while the block runs. Gives its port."""
        await self.servers[address].stop(0)
        try:
            yield int(self.addresses[address].rpartition(":")[2])
        finally:
            await self.start(address)


class _Servicer:
    """Serves any service: its RPCs write down the call and answer as the backend says."""

    def __init__(self, service: ServiceDescriptor, address: str, backend: Backend) -> None:
        self._service = service
        self._address = address
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        rpc = self._service.methods_by_name[name]
        if rpc.client_streaming:
            return self._both(rpc)
        return self._stream(rpc) if rpc.server_streaming else self._unary(rpc)

    def _note(self, rpc: MethodDescriptor, request: Message, context: Context) -> Call:
        metadata = {str(k): str(v) for k, v in context.invocation_metadata() or ()}
        left_s = context.time_remaining()
        call = Call(self._address, rpc.name, request, metadata, -1.0 if left_s is None else left_s)
        self._backend.calls.append(call)
        return call

    def _unary(self, rpc: MethodDescriptor) -> Any:
        empty = GetMessageClass(rpc.output_type)

        async def serve(request: Message, context: Context) -> Message:
            call = self._note(rpc, request, context)
            answer = self._backend.answers.get(rpc.name)
            return (await answer(call, context) if answer else None) or empty()

        return serve

    def _both(self, rpc: MethodDescriptor) -> Any:
        item = GetMessageClass(rpc.output_type)

        async def serve(requests: AsyncIterator[Message], context: Context) -> AsyncGenerator[Message, None]:
            async for request in requests:
                self._note(rpc, request, context)
                yield item()

        return serve

    def _stream(self, rpc: MethodDescriptor) -> Any:
        item = GetMessageClass(rpc.output_type)

        async def serve(request: Message, context: Context) -> AsyncGenerator[Message, None]:
            call = self._note(rpc, request, context)
            if rpc.name in self._backend.streams:
                async for answer in self._backend.streams[rpc.name](call, context):
                    yield answer
                return
            for _ in range(3):
                yield item()
                await asyncio.sleep(0.2)

        return serve


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, its body read."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON; fails on anything else."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.text)


@dataclass
class Gateway:
    """A running gateway and who speaks to it."""

    port: int
    http: aiohttp.ClientSession
    key: ec.EllipticCurvePrivateKey
    backend: Backend
    log: Path
    collector: Collector

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def token(self, **claims: object) -> str:
        """A token of user123 that the gateway takes, unless `claims` spoil it."""
        now = int(time.time())
        given = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "user123",
            "use": "user",
            "iat": now,
            "exp": now + 600,
        }
        return jwt.encode(given | claims, self.key, algorithm="ES256", headers={"kid": "k1"})

    async def send(self, method: str, path: str, *, token: str | None = "", **request: Any) -> Reply:
        """One request, its path as it is written; with a good token, or `token`, or none."""
        headers = dict(request.pop("headers", {}))
        if token is not None:
            headers.setdefault("authorization", f"Bearer {token or self.token()}")
        url = URL(self.url + path, encoded=True)
        async with self.http.request(method, url, headers=headers, **request) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, found, await answer.read())

    async def raw(self, request: bytes) -> Reply:
        """What the gateway answers to these bytes, whether it takes them all or not."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            async with asyncio.timeout(5):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
                headers = dict(line.lower().split(": ", 1) for line in head[1:-1])
                body = await reader.readexactly(int(headers["content-length"]))
        finally:
            writer.close()
        return Reply(int(head[0].split()[1]), headers, body)

    def channel(self) -> grpc.aio.Channel:
        """A gRPC channel through the gateway."""
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")

    def bearer(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a caller with a good token."""
        return (("authorization", f"Bearer {self.token()}"),)


@pytest.fixture(scope="session")
async def gateway_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with serving(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@contextlib.asynccontextmanager
async def serving(home: Path, **given: str) -> AsyncIterator[Gateway]:
    """A gateway with everything behind it, and told what is `given` besides."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    (home / "jwks.json").write_text(json.dumps({"keys": [public | {"kid": "k1", "alg": "ES256"}]}))
    backend = Backend()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(backend.stop)
        for address in SERVERS:
            await backend.start(address)
        sockets = await stack.enter_async_context(_echo())
        polls = await stack.enter_async_context(_polls())
        collector = await stack.enter_async_context(collecting())
        variables = backend.addresses | {
            "GATEWAY_BIND": "127.0.0.1", "NOTIFICATION_SERVICE_PORT": "0", "ENVOY_ADMIN_PORT": "0",
            "JWKS_PATH": str(home / "jwks.json"), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE,
            "REALTIME_WEBSOCKET_ADDRESS": sockets, "REALTIME_LONGPOLL_ADDRESS": polls, "CORS_ORIGINS": "https://app.example",
            "GATEWAY_WEB": str(HERE / "web"),
            "CROWN_OTLP_ENDPOINT": collector.endpoint, "CROWN_OTLP_HEADERS": "x-key=a%20b%25",
            "CROWN_TRACE_RATIO": "1",
            # Two processes, one of which is not there.
            "EMAIL_ADDRESS": f"{backend.addresses['EMAIL_ADDRESS']},127.0.0.1:1",
            **given,
        }  # fmt: skip
        (home / "envoy.yaml").write_text(render(variables))
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        port = await stack.enter_async_context(envoy(home, http))
        yield Gateway(port, http, key, backend, home / "envoy.log", collector)


@pytest.fixture
def gateway(gateway_process: Gateway) -> Gateway:
    """The gateway, with a backend that has seen nothing yet."""
    gateway_process.backend.calls.clear()
    gateway_process.backend.answers.clear()
    gateway_process.backend.streams.clear()
    return gateway_process


@pytest.fixture
async def unharmed(gateway: Gateway, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Others are served meanwhile, and the gateway does not grow, or by so many bytes as it is told. How well and how
    much is printed: -rP shows it."""
    process = next(
        one for one in psutil.Process(os.getpid()).children() if Path(one.exe()).name.startswith("envoy")
    )
    before = process.memory_info().rss
    others = Others(process, gateway.port, "/api/v1/users/user123/notifications", gateway.token())
    others.start()
    try:
        yield
    finally:
        others.enough.set()
        # The services behind the gateway run in this loop.
        await asyncio.to_thread(others.join)
    growth = others.largest_bytes - before
    print(f"others: {others.told()}; the gateway grew by {growth >> 20} MiB")  # noqa: T201
    assert others.statuses == {200}
    # What the gateway answers itself: the service that stands behind it here is as busy as the test.
    assert max(others.took_s["/healthz"]) < CALM_MOST_S
    assert growth < getattr(request, "param", GROWTH_MOST_BYTES)


@contextlib.asynccontextmanager
async def _echo() -> AsyncIterator[str]:
    """A WebSocket server that says back what it hears, after the headers and the query that it got; with `?flood=` it
    sends so many bytes, as fast as they go."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        await socket.send_json({"headers": headers, "path": request.path_qs})
        with contextlib.suppress(ConnectionError):
            for _ in range(0, int(request.query.get("flood", "0")), len(FLOOD)):
                await socket.send_bytes(FLOOD)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    try:
        yield "127.0.0.1:{1}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _polls() -> AsyncIterator[str]:
    """An HTTP server that says what it got, lets every page read it, and hangs up at `?hang`."""

    async def serve(request: web.Request) -> web.Response:
        if "hang" in request.query and request.transport is not None:
            request.transport.abort()
        body = (await request.read()).decode()
        seen = {"method": request.method, "path": request.path_qs, "size": len(body), "body": body[:100]}
        allowed = {"Access-Control-Allow-Origin": request.headers.get("Origin", "nobody")}
        return web.json_response({"status": 200, "headers": dict(request.headers), **seen}, headers=allowed)

    app = web.Application(client_max_size=4 << 20)
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "127.0.0.1:{1}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def envoy(home: Path, http: aiohttp.ClientSession) -> AsyncIterator[int]:
    """Envoy on a port that it chose itself."""
    with (home / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(binary.runnable(binary.in_package("envoy", "_bin", "envoy"), home / "envoy")),
            "--config-path", str(home / "envoy.yaml"), "--concurrency", "1",
            "--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "50",
            "--admin-address-path", str(home / "admin"), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield await asyncio.wait_for(_port(home, http, process), START_LIMIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _port(home: Path, http: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> int:
    while True:
        assert process.returncode is None, (home / "envoy.log").read_text()
        with contextlib.suppress(OSError, aiohttp.ClientError):
            admin = f"http://{(home / 'admin').read_text().strip()}"
            async with http.get(f"{admin}/ready") as ready:
                if ready.status == 200:
                    break
        await asyncio.sleep(0.05)
    async with http.get(f"{admin}/listeners?format=json") as answer:
        listeners = (await answer.json(content_type=None))["listener_statuses"]
    return int(listeners[0]["local_address"]["socket_address"]["port_value"])
