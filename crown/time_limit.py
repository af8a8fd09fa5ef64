"""A time limit for calls of a process that may be stopped meanwhile. When it wakes it finds both, the answer and the
end of its time. The answer is what counts: what is taken for unanswered may be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

# In this time what has come meanwhile reaches who waits for it.
LOOK_S = 0.25


@asynccontextmanager
async def until(moment: float) -> AsyncIterator[None]:
    """Raises TimeoutError in the block LOOK_S after `moment`, in seconds of the loop's clock; where the loop comes to
    that late, LOOK_S after it does."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        timer = loop.call_at(moment, lambda: limit.reschedule(loop.time() + LOOK_S))
        try:
            yield
        finally:
            timer.cancel()


def within(seconds: float) -> AbstractAsyncContextManager[None]:
    """`until`, so many seconds from now."""
    return until(asyncio.get_running_loop().time() + seconds)
