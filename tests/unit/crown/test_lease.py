"""A claim is looked at once more right before the bytes go."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from crown import lease
from crown.lease import LeaseOver


def test_while_it_lasts_and_without_one_nothing_is_said() -> None:
    lease.last_look()
    with lease.until(lease.clock() + 60):
        lease.last_look()


def test_afterwards_it_is_too_late() -> None:
    with lease.until(lease.clock() - 0.001), pytest.raises(LeaseOver):
        lease.last_look()
    lease.last_look()


async def test_it_binds_the_tasks_that_its_call_begins_and_no_other() -> None:
    async def look() -> None:
        lease.last_look()

    with lease.until(lease.clock() - 0.001):
        within = [asyncio.create_task(look()) for _ in range(2)]
    await look()
    assert [type(found) for found in await asyncio.gather(*within, return_exceptions=True)] == [LeaseOver] * 2


def test_the_kernel_has_what_is_written_after_the_look() -> None:
    """And not at the end of the loop's turn, which may be long, and in which the process may be stopped."""

    async def write() -> bytes:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        lease.last_look()
        transport.write(b"the bytes")
        found = theirs.recv(100)
        transport.close()
        theirs.close()
        return found

    assert uvloop.run(write()) == b"the bytes"
