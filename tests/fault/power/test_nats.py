"""The power goes while notifications are being accepted. Every one that was answered with yes is in the intake
of the server that starts on what the disk had."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from crown.notification.v1.events_pb2 import IntakeEvent
from stack.control import Stack
from stack.servers import binary
from stack.servers import nats as server
from tests.fault import bus
from tests.fault.history import Answer, Book, read
from tests.fault.load import Load, plan
from tests.fault.people import crowd
from tests.fault.power.disk import Disk

pytestmark = pytest.mark.timeout(90)

PORT_BASE = 21200
DISK_MB = 1_024
RATE = 400.0
SENDS = 4_000
SENDS_AFTER = 20
PEOPLE = crowd(40)
CUT_AFTER_S = (2.0, 5.0)
START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0
# Anything below would say little about a run of some seconds.
ACCEPTED_LEAST = 200


class Rig:
    """nats-server with its store on a disk that can lose power, and the real ingest API before it. Neither
    MongoDB nor Valkey run: accepting needs the bus alone."""

    def __init__(self, home: Path, careful: bool) -> None:
        self.stack = Stack(PORT_BASE, home=home, only=["ingest-api"])
        self.stack.layout.make()
        self._home = home
        self._careful = careful
        self.store = self.stack.layout.data(server.NAME)

    @contextmanager
    def nats(self) -> Iterator[subprocess.Popen[bytes]]:
        """The server with the stack's own configuration; a careless one syncs as by default."""
        ports = self.stack.settings.ports
        text = server.configure(self.stack.layout, self.stack.secrets, ports.nats, ports.nats_monitor)
        assert "sync_interval: always" in text
        if not self._careful:
            text = text.replace("sync_interval: always", "")
        configuration = self._home / "nats.conf"
        configuration.write_text(text)
        command = [str(binary.in_scripts("nats-server")), "--config", str(configuration)]
        with _running(command, self._home / "nats.log") as process:
            _must_answer(f"http://127.0.0.1:{ports.nats_monitor}/healthz?js-server-only=true")
            yield process

    @contextmanager
    def api(self) -> Iterator[None]:
        """The real ingest API."""
        environment = {**os.environ, **self.stack.environment("ingest-api")}
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


@dataclass(frozen=True, slots=True)
class Loss:
    """The ids that clients were told are accepted, those that were there after the power came back, and those
    that were accepted after that."""

    accepted: set[str]
    found: set[str]
    accepted_after: set[str]

    def __str__(self) -> str:
        return f"{len(self.accepted)} accepted before, {len(self.accepted - self.found)} of them lost"


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_was_accepted_survives_a_power_loss(seed: int, tmp_path: Path) -> None:
    loss = await _lose_power(Rig(tmp_path, careful=True), seed, tmp_path)
    assert len(loss.accepted) >= ACCEPTED_LEAST
    assert loss.accepted <= loss.found, loss
    assert loss.accepted_after


async def test_a_server_that_answers_before_it_syncs_is_seen_to_lose(tmp_path: Path) -> None:
    loss = await _lose_power(Rig(tmp_path, careful=False), 3, tmp_path)
    assert len(loss.accepted) >= ACCEPTED_LEAST
    assert loss.accepted - loss.found, loss


async def _lose_power(rig: Rig, seed: int, folder: Path) -> Loss:
    chance = random.Random(seed)
    disk = Disk.fresh(folder / "disk", DISK_MB)
    with disk.mounted(rig.store), rig.nats() as process:
        with rig.api(), Book(folder / "requests.jsonl") as book:
            async with rig.load(book, chance) as load:
                sending = asyncio.create_task(load.run(plan("power", seed, SENDS, PEOPLE), RATE))
                await asyncio.sleep(chance.uniform(*CUT_AFTER_S))
                process.send_signal(signal.SIGSTOP)
                copy = await asyncio.to_thread(disk.after_power_loss, folder / "disk-after")
                sending.cancel()
                await asyncio.wait([sending])
        process.kill()
        process.wait()
    with copy.mounted(rig.store), rig.nats():
        found = await rig.taken()
        with rig.api(), Book(folder / "requests-after.jsonl") as after:
            async with rig.load(after, chance) as load:
                await load.run(plan("after", seed, SENDS_AFTER, PEOPLE), RATE)
    return Loss(_accepted(book), found, _accepted(after))


def _accepted(book: Book) -> set[str]:
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
