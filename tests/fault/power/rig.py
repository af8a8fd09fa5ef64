"""nats-server with its store on a disk that can fail, and the real ingest API before it."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc.aio

from crown.notification.v1.events_pb2 import IntakeEvent
from stack.control import Stack
from stack.servers import binary
from stack.servers import nats as server
from stack.settings import LOOPBACK
from tests.fault import bus
from tests.fault.history import Answer, Book, read
from tests.fault.load import Load

PORT_BASE = 21200
START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0


class Rig:
    """Neither MongoDB nor Valkey run: accepting needs the bus alone."""

    def __init__(self, home: Path, careful: bool = True) -> None:
        self.stack = Stack(PORT_BASE, home=home, only=["ingest-api"])
        self.stack.layout.make()
        self._home = home
        self._careful = careful
        self.store = self.stack.layout.data(server.NAME)
        self.log = home / "nats.log"

    async def probe(self) -> None:
        """Asks NATS as the stack's supervisor does. Raises NotReady where it is not well."""
        ports = self.stack.settings.ports
        await server.process(self.stack.layout, self.stack.secrets, ports.nats, ports.nats_monitor).probe()

    @contextmanager
    def nats(self) -> Iterator[subprocess.Popen[bytes]]:
        """The server with the stack's own configuration; a careless one syncs as by default."""
        ports = self.stack.settings.ports
        listen, monitor = f"{LOOPBACK}:{ports.nats}", f"{LOOPBACK}:{ports.nats_monitor}"
        text = server.configure(self.stack.secrets, str(self.store), listen, monitor)
        assert "sync_interval: always" in text
        if not self._careful:
            text = text.replace("sync_interval: always", "")
        configuration = self._home / "nats.conf"
        configuration.write_text(text)
        command = [str(binary.in_scripts("nats-server")), "--config", str(configuration)]
        with _running(command, self.log) as process:
            _must_answer(f"http://127.0.0.1:{ports.nats_monitor}/healthz?js-server-only=true")
            yield process

    @contextmanager
    def api(self) -> Iterator[None]:
        """The real ingest API."""
        # As the one who may make streams: nobody else does so here.
        own = {**self.stack.environment("ingest-api"), **self.stack.environment("operator")}
        environment = {**os.environ, **own}
        command = [sys.executable, "-m", "services.ingest", "api"]
        with _running(command, self._home / "ingest-api.log", environment):
            yield

    @asynccontextmanager
    async def load(self, book: Book, chance: random.Random) -> AsyncIterator[Load]:
        """Clients of the API, which answers by then."""
        address = f"127.0.0.1:{self.stack.settings.ports.grpc('ingest-api')}"
        async with grpc.aio.insecure_channel(address) as channel:
            async with asyncio.timeout(START_LIMIT_S):
                await channel.channel_ready()
            yield Load(channel, self.stack.token(service="feed"), book, chance)

    async def taken(self) -> set[str]:
        """The ids of the notifications in the intake."""
        async with bus.streams(self.stack.environment("operator")) as streams:
            names = [name for name in await streams.names() if name.startswith("INTAKE_")]
            return {
                IntakeEvent.FromString(message.data).notification_id
                for name in names
                for message in await streams.stored(name)
            }


def accepted(book: Book) -> set[str]:
    """The ids of those that were answered with yes."""
    return {sent.request.notification_id for sent in read(book.path) if sent.answer is Answer.ACCEPTED}


@contextmanager
def _running(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _must_answer(url: str) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)
