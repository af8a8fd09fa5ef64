"""The end of the time does not hide an answer that is there."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest
import uvloop

from crown import time_limit
from crown.time_limit import LOOK_S

# Between the socket and who asked, each takes a turn of the loop.
HANDS = 5


async def handed_on(reader: asyncio.StreamReader, hands: int) -> bytes:
    """What `reader` reads."""
    if not hands:
        return await reader.read(100)
    return await asyncio.create_task(handed_on(reader, hands - 1))


async def test_it_ends_what_takes_too_long() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with time_limit.within(0.1):
            await asyncio.Event().wait()
    assert 0.1 <= time.monotonic() - began < 0.1 + LOOK_S + 5


async def test_what_is_done_in_time_is_left_alone() -> None:
    async with time_limit.within(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1 + LOOK_S)


async def test_what_others_end_is_no_time_out() -> None:
    async def waits() -> None:
        async with time_limit.within(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("busy_s", [0.0, 2 * LOOK_S], ids=["idle", "busy"])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_an_answer_that_came_while_nobody_looked_counts(run: Callable[..., bytes], busy_s: float) -> None:
    """As it is with a process that was stopped: when it wakes, its time is over, and the answer is there, and much
    else to do."""

    async def asks() -> bytes:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        loop = asyncio.get_running_loop()

        def stand_still() -> None:
            time.sleep(0.4)
            theirs.send(b"yes")
            loop.call_soon(loop.call_soon, time.sleep, busy_s)

        loop.call_later(0.05, stand_still)
        try:
            async with time_limit.within(0.2):
                return await handed_on(reader, HANDS)
        finally:
            writer.close()
            theirs.close()

    assert run(asks()) == b"yes"
