"""A time limit for calls of a process that may be stopped meanwhile. When it wakes it finds both, the answer and the
end of its time. The answer is what counts: what is taken for unanswered may be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

# In this time, and in so many turns of the loop, which may be long ones right after it woke, what has come meanwhile
# reaches who waits for it.
LOOK_S = 0.25
_TURNS = 10


@asynccontextmanager
async def until(moment: float) -> AsyncIterator[None]:
    """Raises TimeoutError in the block LOOK_S after `moment`, in seconds of the loop's clock; where the loop comes to
    that late, LOOK_S and some turns after it does."""
    loop = asyncio.get_running_loop()
    handle: asyncio.Handle
    async with asyncio.timeout(None) as limit:

        def turn(left: int) -> None:
            nonlocal handle
            if left:
                handle = loop.call_soon(turn, left - 1)
            else:
                limit.reschedule(loop.time())

        def look() -> None:
            nonlocal handle
            handle = loop.call_later(LOOK_S, turn, _TURNS)

        handle = loop.call_at(moment, look)
        try:
            yield
        finally:
            handle.cancel()


def within(seconds: float) -> AbstractAsyncContextManager[None]:
    """`until`, so many seconds from now."""
    return until(asyncio.get_running_loop().time() + seconds)
