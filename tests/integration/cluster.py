"""NATS servers of a test alone: three that are one cluster, or one, which the test ends and starts."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from crown.bus import Bus
from crown.errors import BusUnavailable
from services.ingest.settings import IngestSettings
from stack.servers import binary
from tests.integration.rig import Rig, until

SERVERS = 3
LIMIT_S = 30.0


def _configuration(number: int, ports: Sequence[int], routes: Sequence[int], folder: Path) -> str:
    others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    own = f'cluster {{ name: crown, listen: "127.0.0.1:{routes[number]}", routes: [{others}] }}'
    return f"""\
server_name: n{number}
listen: "127.0.0.1:{ports[number]}"
jetstream {{ store_dir: {json.dumps(str(folder / "data"))}, max_file_store: 1GB, sync_interval: always }}
{own if len(routes) > 1 else ""}
lame_duck_grace_period: "1s"
lame_duck_duration: "30s"
"""


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


class Cluster:
    """Servers by number; each has a folder with its configuration."""

    def __init__(self, address: str, folders: Sequence[Path]) -> None:
        self._address = address
        self._folders = folders
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    def settings(self, rig: Rig, **given: str) -> IngestSettings:
        """Settings that lead here, and let a small disk do."""
        small = {"CROWN_STREAM_REPLICAS": str(len(self._folders)), "CROWN_STREAM_MAX_BYTES": "1000000"}
        return rig.settings(NATS_URL=self._address, NATS_USER="", NATS_PASSWORD="", **{**small, **given})

    async def start(self, number: int) -> None:
        """Starts a server that does not run."""
        folder = self._folders[number]
        self._processes[number] = await asyncio.create_subprocess_exec(
            str(binary.in_scripts("nats-server")),
            *("--config", str(folder / "nats.conf"), "--log", str(folder / "log")),
        )

    async def kill(self, number: int) -> None:
        """Ends a server at once."""
        if self._processes[number].returncode is None:
            self._processes[number].kill()
        await self._processes[number].wait()

    async def told_to_go(self, number: int) -> None:
        """As before an upgrade: it hands over what it leads, sends its clients to others, and ends."""
        self._processes[number].send_signal(signal.SIGUSR2)
        await asyncio.wait_for(self._processes[number].wait(), LIMIT_S)


@asynccontextmanager
async def opened(folder: Path, count: int = SERVERS) -> AsyncIterator[Cluster]:
    """So many servers while the block runs. It may take a while until they have chosen who leads."""
    ports, routes = _free_ports(count), _free_ports(count)
    folders = [folder / str(number) for number in range(count)]
    found = Cluster(",".join(f"nats://127.0.0.1:{port}" for port in ports), folders)
    async with AsyncExitStack() as ends:
        for number, own in enumerate(folders):
            own.mkdir()
            (own / "nats.conf").write_text(_configuration(number, ports, routes, own))
            await found.start(number)
            ends.push_async_callback(found.kill, number)
        yield found


@asynccontextmanager
async def connected(settings: IngestSettings) -> AsyncIterator[Bus]:
    """A connection, once the cluster has chosen who leads it."""

    async def connect() -> Bus | None:
        try:
            return await Bus.connect(settings, "test")
        except BusUnavailable:
            return None

    bus = await until(connect, lambda found: found is not None, LIMIT_S)
    assert bus is not None
    try:
        yield bus
    finally:
        await bus.close()


async def leader(bus: Bus, stream: str) -> int:
    """Which server leads the stream."""
    return int((await bus.api(f"STREAM.INFO.{stream}"))["cluster"]["leader"].removeprefix("n"))
