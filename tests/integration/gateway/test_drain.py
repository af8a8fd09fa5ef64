"""`python -m gateway`: whoever is connected is asked to go and given time, before Envoy ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from http.client import HTTPConnection

from tests.integration.rig import ROOT, until

_START_LIMIT_S = 30.0


@asynccontextmanager
async def running(
    grace_s: int, **given: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Callable[[], HTTPConnection]]]:
    """The gateway, answering, and a way to connect to it."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, admin = one.getsockname()[1], other.getsockname()[1]
    told = {
        "GATEWAY_BIND": "127.0.0.1",
        "NOTIFICATION_SERVICE_PORT": str(port),
        "ENVOY_ADMIN_PORT": str(admin),
        "GATEWAY_GRACE_S": str(grace_s),
        "GATEWAY_CONCURRENCY": "1",
        "JWT_ISSUER": "tests",
        "JWKS_URL": "http://127.0.0.1:9/keys",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", cwd=ROOT, env={"PATH": os.environ["PATH"], **told, **given}
    )
    try:

        async def answers() -> bool:
            assert process.returncode is None
            return await asyncio.to_thread(_healthy, port)

        await until(answers, within_s=_START_LIMIT_S)
        yield process, lambda: HTTPConnection("127.0.0.1", port, timeout=10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _healthy(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _ask(connection: HTTPConnection) -> tuple[int, str]:
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.getheader("connection", "")


async def test_who_is_connected_is_answered_and_asked_to_go() -> None:
    async with running(grace_s=600) as (process, connect):
        kept = connect()
        assert await asyncio.to_thread(_ask, kept) == (200, "")
        process.send_signal(signal.SIGTERM)

        async def farewell() -> tuple[int, str]:
            with closing(connect()) as new:
                return await asyncio.to_thread(_ask, new)

        # New connections are still taken: not everybody has heard yet.
        await until(farewell, lambda found: found == (200, "close"))
        assert process.returncode is None
        assert await asyncio.to_thread(_ask, kept) == (200, "close")
        # Nobody is left, so nobody is waited for.
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_who_does_not_go_is_cut_off() -> None:
    async with running(grace_s=1) as (process, connect):
        with closing(connect()) as kept:
            assert await asyncio.to_thread(_ask, kept) == (200, "")
            told = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0
        assert time.monotonic() - told >= 1


async def test_it_ends_with_envoy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = {"NOTIFICATION_SERVICE_PORT": str(taken.getsockname()[1]), "GATEWAY_BIND": "127.0.0.1"}
        status, said = await _ended(JWT_ISSUER="tests", JWKS_URL="http://127.0.0.1:9/keys", **told)
    assert status == 1
    assert said.endswith("gateway: Envoy ended with status 1\n")


async def test_a_wrong_setting_is_named() -> None:
    status, said = await _ended(GATEWAY_GRACE_S="soon")
    assert status == 2
    assert said.startswith("wrong setting  GATEWAY_GRACE_S: ")


async def _ended(**given: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()
