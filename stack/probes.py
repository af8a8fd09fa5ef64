"""Asks a process whether it serves: by HTTP, gRPC health or the Redis protocol, each with a time limit."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stack.errors import NotReady
from stack.process import Probe
from stack.settings import LOOPBACK

LIMIT_S = 2.0  # a process that needs longer to answer is not well


def http(port: int, path: str) -> Probe:
    """Healthy when `GET path` answers 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n"

    async def probe() -> None:
        status = await _first_line(port, request)
        if " 200" not in status:
            raise NotReady(f"GET {path} answered {status or 'nothing'}")

    return probe


def valkey(port: int, user: str, password: str) -> Probe:
    """Healthy when a PING after the login is answered."""

    async def probe() -> None:
        answer = await _first_line(port, f"AUTH {user} {password}\r\n")
        if answer != "+OK":
            raise NotReady(f"AUTH answered {answer or 'nothing'}")

    return probe


def grpc(port: int, folder: Path | None = None, name: str = "") -> Probe:
    """Healthy when grpc.health.v1 says SERVING for the whole server; asked by TLS with the certificate in `folder`,
    where there is one, of a server that has to be `name`."""

    async def probe() -> None:
        # Imported late: only a stack with services pays for it.
        import grpc.aio as aio
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        from stack import links

        async with links.channel(f"{LOOPBACK}:{port}", folder, name) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
            except aio.AioRpcError as error:
                raise NotReady(f"its gRPC health check answers {error.code().name}") from error
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
                raise NotReady(f"its gRPC health is {state}")

    return probe


async def _first_line(port: int, request: str) -> str:
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(request.encode())
            await writer.drain()
            return (await reader.readline()).decode(errors="replace").strip()
        finally:
            writer.close()
