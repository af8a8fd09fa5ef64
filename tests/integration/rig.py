"""Runs roles of ingest as processes of their own against real servers, and watches them from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import msgspec
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.client import Client
from prometheus_client.parser import text_string_to_metric_families
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from services.ingest.settings import IngestSettings
from stack.control import Stack

ROOT = Path(__file__).parents[2]
SERVING = health_pb2.HealthCheckResponse.SERVING
_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 20.0
_STEP_S = 0.02

T = TypeVar("T")


async def until(
    read: Callable[[], Awaitable[T]], done: Callable[[T], object] = bool, within_s: float = 15.0
) -> T:
    """What `read` answers as soon as `done` accepts it. Fails with the last answer."""
    limit = time.monotonic() + within_s
    while not done(found := await read()):
        assert time.monotonic() < limit, f"after {within_s:g} s still {found}"
        await asyncio.sleep(_STEP_S)
    return found


def _states(pid: int) -> set[str]:
    """The states that the threads of a process are in, as the kernel writes them."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return {path.read_text().rpartition(")")[2].split()[0] for path in stats}


async def _stands(pid: int) -> bool:
    """Whether no thread of a process runs."""
    return await asyncio.to_thread(_states, pid) == {"T"}


class Service:
    """A process of ours. Its log is kept."""

    def __init__(self, name: str, port: int, metrics_port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._metrics_port = metrics_port
        self._log = log
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, command: Sequence[str], environment: dict[str, str]) -> None:
        """Starts it; does not wait."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, env=environment, cwd=ROOT, stdout=log, stderr=log
            )

    async def health(self) -> int:
        """What it says of itself; -1 where it says nothing."""
        try:
            answer = await health_pb2_grpc.HealthStub(self.channel).Check(
                health_pb2.HealthCheckRequest(), timeout=2, wait_for_ready=True
            )
        except grpc.aio.AioRpcError:
            return -1
        return int(answer.status)

    async def serving(self) -> None:
        """Returns when it serves; fails with its log where it has ended."""

        async def state() -> int:
            assert self.process is not None
            assert self.process.returncode is None, self.log()
            return await self.health()

        await until(state, lambda found: found == SERVING, _START_LIMIT_S)

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status, once it has ended by itself or been killed."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), _STOP_LIMIT_S)

    async def stands(self) -> None:
        """Returns when it has been stopped by a signal, as until SIGCONT."""
        assert self.process is not None
        await until(partial(_stands, self.process.pid))

    async def stop(self) -> None:
        """Stops it as a supervisor does; it must end by itself and cleanly."""
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            assert await self.ended() == 0, self.log()

    async def close(self) -> None:
        """Stops it, by force where it has to be."""
        try:
            await self.stop()
        finally:
            await self.channel.close()
            if self.process is not None and self.process.returncode is None:
                self.process.kill()
                await self.process.wait()

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text()

    def events(self) -> list[str]:
        """The names of what it has logged."""
        lines = (line for line in self.log().splitlines() if line.startswith("{"))
        return [json.loads(line).get("event", "") for line in lines]

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        url = f"http://127.0.0.1:{self._metrics_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class Rig:
    """The servers, and a database and streams for one file of tests."""

    def __init__(self, stack: Stack, folder: Path, database: str) -> None:
        self.stack = stack
        self.folder = folder
        self.database = database
        self._ports = iter(range(stack.settings.ports.base + 24, stack.settings.ports.base + 78))
        self._started = 0
        operator = stack.environment("operator")
        read = {
            name.removesuffix("_FILE"): Path(path).read_text()
            for name, path in operator.items()
            if "_FILE" in name
        }
        plain = {name: value for name, value in operator.items() if "_FILE" not in name}
        self.environment = {**plain, **read, "CROWN_BIND": "127.0.0.1"}
        url = self.environment["DATABASE_URL"]
        self.environment["DATABASE_URL"] = url.replace("/crown?", f"/{database}?")
        self.redis: Redis = Redis.from_url(self.environment["REDIS_HOST"])
        self.mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            self.environment["DATABASE_URL"], tz_aware=True
        )
        self.db = self.mongo[database]

    def settings(self, **given: str) -> IngestSettings:
        """What a process here would be told."""
        return IngestSettings.model_validate({**self.environment, **given})

    def token(self, service: str = "", user: str = "", **given: Any) -> str:
        """A token for a service or a user; for the service feed where neither is named."""
        return self.stack.token(service=service or (None if user else "feed"), user=user or None, **given)

    async def empty(self) -> None:
        """Removes every stream and consumer, every key and the database."""
        client = await self._nats()
        names = msgspec.json.decode((await client.request("$JS.API.STREAM.NAMES", b"")).data)["streams"] or ()
        for name in names:
            await client.request(f"$JS.API.STREAM.DELETE.{name}", b"")
        await client.close()
        await self.redis.flushall()
        await self.mongo.drop_database(self.database)

    async def _nats(self) -> Client:
        client = Client()
        found = self.environment
        await client.connect(found["NATS_URL"], user=found["NATS_USER"], password=found["NATS_PASSWORD"])
        return client

    async def close(self) -> None:
        """Closes its own connections."""
        await self.mongo.drop_database(self.database)
        await self.redis.aclose()
        await self.mongo.close()

    @asynccontextmanager
    async def running(self, role: str, **given: str) -> AsyncIterator[Service]:
        """A role of ingest, serving."""
        async with self.started(["-m", "services.ingest", role], role, **given) as service:
            await service.serving()
            yield service

    @asynccontextmanager
    async def started(self, arguments: Sequence[str], name: str, **given: str) -> AsyncIterator[Service]:
        """A Python process with the settings of a service, whether it serves or not; stopped in the end."""
        self._started += 1
        port, metrics_port = self._free_port(), self._free_port()
        service = Service(name, port, metrics_port, self.folder / f"{name}-{self._started}.log")
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            **self.environment,
            "CROWN_GRPC_PORT": str(port),
            "CROWN_METRICS_PORT": str(metrics_port),
            **given,
        }
        await service.start([sys.executable, *arguments], environment)
        try:
            yield service
        finally:
            await service.close()

    def _free_port(self) -> int:
        taken = {self.stack.settings.ports.mailbox_smtp}
        port = next(self._ports)
        return self._free_port() if port in taken else port

    @asynccontextmanager
    async def suspended(self, server: str) -> AsyncIterator[None]:
        """The server does nothing, and its connections stand: as on a machine that hangs."""
        process = psutil.Process(self.stack.pid(server))
        process.suspend()
        try:
            # Its threads stop one by one, and any of them may still answer.
            await until(partial(_stands, process.pid))
            yield
        finally:
            process.resume()

    async def killed(self, server: str) -> None:
        """Kills the server and returns when the stack has started it again."""
        pid = self.stack.kill(server)
        await asyncio.to_thread(self.stack.wait_healthy, server, pid)
