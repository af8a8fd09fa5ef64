"""A real nats-server, and realtime processes of our own to talk to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crown import subjects, vault
from crown.bus import Bus, Outgoing
from crown.notification.v1 import events_pb2, realtime_service_pb2_grpc
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from crown.settings import Settings
from stack.secrets import Secrets
from stack.servers import binary
from stack.tokens import Use, sign
from tests import ports

ROOT = Path(__file__).parents[3]
PATIENCE_S = 10.0
# A process comes up late where every lane of the tests starts at once.
_START_LIMIT_S = 30.0
COMMAND = (sys.executable, "-m", "services.realtime")


def free_port() -> int:
    """A port that nobody listens on."""
    return ports.free()


async def reachable(port: int) -> None:
    """Waits until somebody listens there."""
    async with asyncio.timeout(_START_LIMIT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


class Nats:
    """A nats-server that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it on the store that it left."""
        configuration = self._folder / "nats.conf"
        store = json.dumps(str(self._folder / "store"))
        configuration.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: {store}, max_file_store: 20GB }}\n'
        )
        command = (str(binary.in_scripts("nats-server")), "--config", str(configuration))
        self._process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        await reachable(self.port)

    async def kill(self) -> None:
        """Ends it at once."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"nats://127.0.0.1:{self.port}"


@dataclass
class Trust:
    """The keys of these tests."""

    secrets: Secrets

    @property
    def data_key(self) -> vault.Key:
        """Under which content rides the bus."""
        return vault.data_key(self.secrets.data_key().read_text())

    def token(self, subject: str, use: Use = Use.USER, **claims: Any) -> str:
        """A token for `subject`."""
        return sign(self.secrets, use, subject, **claims)


class Person:
    """A raw Phoenix client."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection
        self._refs = 0

    async def say(self, *frame: Any) -> None:
        """Sends one frame."""
        await self.connection.send_str(json.dumps(frame))

    async def hear(self, patience_s: float = PATIENCE_S) -> list[Any]:
        """The next frame."""
        message = await self.connection.receive(patience_s)
        assert message.type == aiohttp.WSMsgType.TEXT, message
        found: list[Any] = json.loads(message.data)
        return found

    async def silence(self, seconds: float = 0.3) -> None:
        """Nothing comes for a while."""
        with pytest.raises(asyncio.TimeoutError):
            await self.connection.receive(seconds)

    async def closed(self, patience_s: float = PATIENCE_S) -> int | None:
        """The code that the server closes with; frames before it are passed over."""
        while (await self.connection.receive(patience_s)).type == aiohttp.WSMsgType.TEXT:
            pass
        return self.connection.close_code

    async def join(self, topic: str, ref: str = "1", **payload: Any) -> dict[str, Any]:
        """Joins, and answers what the server says to it."""
        await self.say(ref, ref, topic, "phx_join", payload)
        join_ref, said, about, event, payload = await self.hear()
        assert (join_ref, said, about, event) == (ref, ref, topic, "phx_reply")
        answer: dict[str, Any] = payload
        return answer


@dataclass
class Node:
    """A running realtime process."""

    process: asyncio.subprocess.Process
    websocket_port: int
    longpoll_port: int
    grpc_port: int
    metrics_port: int
    http: aiohttp.ClientSession
    channel: grpc.aio.Channel
    stub: realtime_service_pb2_grpc.RealtimeServiceAsyncStub = field(init=False)

    def __post_init__(self) -> None:
        self.stub = realtime_service_pb2_grpc.RealtimeServiceStub(self.channel)

    def url(self, **parameters: str) -> str:
        """Where a client connects, with these parameters."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"http://127.0.0.1:{self.websocket_port}/socket/websocket?{query}"

    @asynccontextmanager
    async def person(self, token: str, **options: Any) -> AsyncIterator[Person]:
        """A client that is connected."""
        url = self.url(vsn="2.0.0", token=token)
        async with self.http.ws_connect(url, autoping=False, **options) as connection:
            yield Person(connection)

    async def healthy(self) -> bool:
        """What gRPC health says."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def metric(self, name: str) -> float:
        """The value of one series."""
        async with self.http.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            found = re.search(rf"^{re.escape(name)} (\S+)$", await answer.text(), re.MULTILINE)
        return float(found[1]) if found else 0.0


class Publisher:
    """Puts events on the bus as dispatch does."""

    def __init__(self, bus: Bus, trust: Trust) -> None:
        self.bus = bus
        self._trust = trust

    async def notify(self, user_id: str, notification_id: str, **data: Any) -> int:
        """One notification; answers its offset."""
        content = events_pb2.NotificationContent(data=NotificationData(**data).SerializeToString())
        event = events_pb2.LiveEvent(
            user_id=user_id,
            event="notification",
            notification_id=notification_id,
            kind="comment",
            category=Category.SOCIAL,
            content=vault.seal(self._trust.data_key, content.SerializeToString()),
        )
        event.create_time.FromJsonString("2026-11-22T10:00:00.250Z")
        return await self.send(user_id, event.SerializeToString())

    async def send(self, user_id: str, body: bytes) -> int:
        """Any bytes."""
        return (
            await self.bus.publish(Outgoing(subjects.live_source(subjects.user_topic(user_id)), body))
        ).seq


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """A signing key, its key set and a data key."""
    return Trust(Secrets(tmp_path_factory.mktemp("trust")))


@pytest.fixture(scope="session")
async def nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nats]:
    """The bus of most tests."""
    server = Nats(tmp_path_factory.mktemp("nats"))
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def own_nats(tmp_path: Path) -> AsyncIterator[Nats]:
    """A bus to be killed."""
    server = Nats(tmp_path)
    await server.start()
    yield server
    await server.kill()


def environment(nats: Nats, trust: Trust, **more: str) -> dict[str, str]:
    """What a realtime process is told."""
    listening = ("CROWN_GRPC_PORT", "CROWN_METRICS_PORT", "CROWN_WEBSOCKET_PORT", "CROWN_LONGPOLL_PORT")
    ports = {name: str(free_port()) for name in listening}
    return {
        **ports,
        "CROWN_BIND": "127.0.0.1",
        "NATS_URL": nats.url,
        "DATABASE_URL": "mongodb://127.0.0.1:1/crown",
        "REDIS_HOST": "127.0.0.1:1",
        "CROWN_JWKS": str(trust.secrets.jwks()),
        "CROWN_JWT_ISSUER": "crown-stack",
        "CROWN_DATA_KEY_FILE": str(trust.secrets.data_key()),
        "CROWN_GRACE_S": "3",
        "PATH": os.environ["PATH"],
        **more,
    }


@asynccontextmanager
async def running(nats: Nats, trust: Trust, **more: str) -> AsyncIterator[Node]:
    """A realtime process."""
    told = environment(nats, trust, **more)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, cwd=ROOT, env=told, stdout=asyncio.subprocess.DEVNULL
    )
    grpc_port, metrics_port = int(told["CROWN_GRPC_PORT"]), int(told["CROWN_METRICS_PORT"])
    websocket_port, longpoll_port = int(told["CROWN_WEBSOCKET_PORT"]), int(told["CROWN_LONGPOLL_PORT"])
    try:
        await reachable(grpc_port)
        await reachable(websocket_port)
        await reachable(longpoll_port)
        async with (
            aiohttp.ClientSession() as http,
            grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
        ):
            yield Node(process, websocket_port, longpoll_port, grpc_port, metrics_port, http, channel)
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ends a process as the supervisor would; harmless where it ended by itself."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        raise


@pytest.fixture(scope="session")
async def node(nats: Nats, trust: Trust) -> AsyncIterator[Node]:
    """The process that most tests talk to."""
    async with running(nats, trust) as found:
        yield found


@asynccontextmanager
async def publishing(nats: Nats, trust: Trust) -> AsyncIterator[Publisher]:
    """A publisher on `nats`."""
    told = {**environment(nats, trust), "CROWN_DATA_KEY": trust.secrets.data_key().read_text()}
    bus = await Bus.connect(Settings.model_validate(told), "tests")
    yield Publisher(bus, trust)
    await bus.close()


@pytest.fixture(scope="session")
async def publisher(nats: Nats, trust: Trust, node: Node) -> AsyncIterator[Publisher]:
    """Puts events on the bus of most tests."""
    async with publishing(nats, trust) as found:
        yield found


@pytest.fixture(scope="session")
def people() -> Iterator[str]:
    """User ids that no other test uses."""
    return (f"person{number}" for number in range(10_000))


@pytest.fixture
def user(people: Iterator[str]) -> str:
    """One of them."""
    return next(people)


@pytest.fixture(scope="session")
def run_node(trust: Trust) -> Callable[..., Any]:
    """Runs a realtime process of the test's own on a bus."""
    return lambda nats, **more: running(nats, trust, **more)


@pytest.fixture
def publish_on(trust: Trust) -> Callable[[Nats], Any]:
    """Publishes on a bus of the test's own."""
    return lambda nats: publishing(nats, trust)


@pytest.fixture
def start_badly(trust: Trust) -> Callable[..., Awaitable[tuple[int | None, str]]]:
    """Starts a realtime process that cannot run: its exit code, and what it says."""

    async def start(nats: Nats, **more: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, cwd=ROOT, env=environment(nats, trust, **more), stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(_START_LIMIT_S):
            _, said = await process.communicate()
        return process.returncode, said.decode()

    return start
