"""The network of the fault tests does what it says: it cuts, one way or both, loses, delays, throttles and resets."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fault import lan as network
from tests.fault.lan import Lan, Machine, Trouble

PORT = 8_000
# Sends back what it gets.
ECHO = """
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
async def main():
    async with await asyncio.start_server(echo, sys.argv[1], int(sys.argv[2])) as server:
        await server.serve_forever()
asyncio.run(main())
"""
QUICK_S = 1.0
LIMIT_S = 30.0


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    lack = network.missing()
    if lack:
        pytest.fail(f"these tests need {lack}", pytrace=False)
    with Lan() as found:
        yield found


@pytest.fixture(scope="module")
async def far(lan: Lan) -> AsyncIterator[Machine]:
    """A machine that echoes."""
    machine = lan.machine("far")
    process = await asyncio.create_subprocess_exec(
        *machine.command(sys.executable, "-c", ECHO, machine.address, str(PORT))
    )
    async with asyncio.timeout(LIMIT_S):
        while not await echoed(machine, 1, 1.0):  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.1)
    yield machine
    process.kill()
    await process.wait()


async def echoed(machine: Machine, size: int, limit_s: float) -> float:
    """Seconds until so many bytes came back over a new connection; 0 where they did not in time."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(machine.address, PORT)
            writer.write(bytes(size))
            await reader.readexactly(size)
            writer.close()
    except (TimeoutError, OSError):
        return 0.0
    return time.monotonic() - began


async def test_without_trouble(far: Machine) -> None:
    assert await echoed(far, 1_000_000, LIMIT_S)


@pytest.mark.parametrize(("up", "down"), [(True, True), (True, False), (False, True)])
async def test_a_cut(up: bool, down: bool, lan: Lan, far: Machine) -> None:
    for source, target, wanted in ((lan.here, far, up), (far, lan.here, down)):
        lan.set(Trouble(cut=wanted), source, target)
    assert not await echoed(far, 1, QUICK_S)
    for source, target in ((lan.here, far), (far, lan.here)):
        lan.set(Trouble(), source, target)
    assert await echoed(far, 1, LIMIT_S)


async def test_what_waited_arrives_after_a_cut(lan: Lan, far: Machine) -> None:
    reader, writer = await asyncio.open_connection(far.address, PORT)
    with lan.trouble(Trouble(cut=True), lan.here, far):
        writer.write(b"late")
        await asyncio.sleep(QUICK_S)
    async with asyncio.timeout(LIMIT_S):
        assert await reader.readexactly(4) == b"late"
    writer.close()


async def test_delay(lan: Lan, far: Machine) -> None:
    with lan.trouble(Trouble(delay_s=0.2, jitter_s=0.05), lan.here, far):
        # Once for the connection, and once for the echo, there and back.
        assert await echoed(far, 1, LIMIT_S) >= 0.6


async def test_loss_costs_time_and_no_bytes(lan: Lan, far: Machine) -> None:
    with lan.trouble(Trouble(loss=0.1), lan.here, far):
        assert await echoed(far, 50_000, LIMIT_S)


async def test_a_narrow_wire(lan: Lan, far: Machine) -> None:
    with lan.one_way(Trouble(bytes_per_s=50_000), lan.here, far):
        assert await echoed(far, 100_000, LIMIT_S) >= 1.0


async def test_a_reset(lan: Lan, far: Machine) -> None:
    reader, writer = await asyncio.open_connection(far.address, PORT)
    with lan.trouble(Trouble(reset=True), lan.here, far):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(far.address, PORT)
        writer.write(b"never")
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(LIMIT_S):
                await reader.readexactly(5)
    assert await echoed(far, 1, LIMIT_S)
