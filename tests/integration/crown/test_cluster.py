"""The bus on three NATS servers that are one cluster: each stream stands on all, and one of them may die."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from crown import subjects
from crown.bus import Bus, Outgoing
from crown.errors import BusUnavailable
from stack.servers import binary
from tests.integration.rig import Rig, until

SERVERS = 3
LIMIT_S = 30.0


def configuration(number: int, ports: list[int], routes: list[int], folder: Path) -> str:
    others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    return f"""\
server_name: n{number}
listen: "127.0.0.1:{ports[number]}"
jetstream {{ store_dir: {json.dumps(str(folder / "data"))}, max_file_store: 1GB, sync_interval: always }}
cluster {{ name: crown, listen: "127.0.0.1:{routes[number]}", routes: [{others}] }}
"""


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[str, list[asyncio.subprocess.Process]]]:
    """The address of all servers, and their processes."""
    ports, routes = free_ports(SERVERS), free_ports(SERVERS)
    async with AsyncExitStack() as ends:
        processes = []
        for number in range(SERVERS):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "nats.conf").write_text(configuration(number, ports, routes, folder))
            process = await asyncio.create_subprocess_exec(
                str(binary.in_scripts("nats-server")),
                *("--config", str(folder / "nats.conf"), "--log", str(folder / "log")),
            )
            ends.push_async_callback(_end, process)
            processes.append(process)
        yield ",".join(f"nats://127.0.0.1:{port}" for port in ports), processes


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def connected(settings: Any) -> Bus | None:
    """A connection; None until the cluster has chosen who leads it."""
    try:
        return await Bus.connect(settings, "test")
    except BusUnavailable:
        return None


async def test_every_stream_outlives_a_server(
    rig: Rig, cluster: tuple[str, list[asyncio.subprocess.Process]]
) -> None:
    address, processes = cluster
    settings = rig.settings(
        NATS_URL=address,
        NATS_USER="",
        NATS_PASSWORD="",
        CROWN_STREAM_REPLICAS="3",
        CROWN_STREAM_MAX_BYTES="65536",
    )
    bus = await until(lambda: connected(settings), lambda found: found is not None, LIMIT_S)
    assert bus is not None
    try:
        for stream in subjects.streams(1):
            config = (await bus.api(f"STREAM.INFO.{stream['name']}"))["config"]
            assert (stream["name"], config["num_replicas"]) == (stream["name"], SERVERS)
        intake = Outgoing(subjects.intake("critical"), b"before")
        await bus.publish(intake)
        processes[0].kill()
        await processes[0].wait()

        async def stored() -> int:
            try:
                await bus.publish(Outgoing(intake.subject, b"after"))
                found = await bus.api(f"STREAM.INFO.{subjects.intake_stream('critical')}")
            except BusUnavailable:
                return 0
            return int(found["state"]["messages"])

        assert await until(stored, lambda count: count >= 2, LIMIT_S)
    finally:
        await bus.close()


@pytest.mark.parametrize("replicas", ["2", "0", "many"])
def test_other_numbers_are_refused(rig: Rig, replicas: str) -> None:
    with pytest.raises(ValueError, match="CROWN_STREAM_REPLICAS"):
        rig.settings(CROWN_STREAM_REPLICAS=replicas)
