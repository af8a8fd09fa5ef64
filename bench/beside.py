"""Another process that accepts, beside the stack's own: the same with another setting."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.site import Site
from stack import links

_START_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where it is, and its process."""

    target: str
    pid: int


def own(site: Site) -> Server:
    """The one of the stack."""
    return Server(site.stack.address("ingest-api"), site.stack.pid("ingest-api"))


@asynccontextmanager
async def ingest(site: Site, shown: Path | None = None, **changes: str) -> AsyncIterator[Server]:
    """One with `changes` in its settings. Where it speaks TLS, `shown` is the folder of who calls it."""
    ports = [_free() for _ in range(2)]
    given = {"CROWN_GRPC_PORT": str(ports[0]), "CROWN_METRICS_PORT": str(ports[1]), **changes}
    environment = {**os.environ, **site.stack.environment("ingest-api"), **given}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.ingest", "api"), env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    target = f"127.0.0.1:{ports[0]}"
    try:
        await _serving(target, shown)
        yield Server(target, process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _serving(target: str, shown: Path | None) -> None:
    wanted = health_pb2.HealthCheckResponse.SERVING
    async with links.channel(target, shown, "ingest-api") as channel, asyncio.timeout(_START_LIMIT_S):
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            if answer.status == wanted:
                return
            await asyncio.sleep(0.1)


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
