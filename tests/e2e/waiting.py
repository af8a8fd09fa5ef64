"""Waiting for what happens behind an accepted request: often looked at, never longer than a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_STEP_S = 0.03


async def until(read: Callable[[], Awaitable[T]], done: Callable[[T], object], within_s: float = 10.0) -> T:
    """What `read` answers as soon as `done` accepts it. Fails with the last answer."""
    limit = time.monotonic() + within_s
    while not done(found := await read()):
        assert time.monotonic() < limit, f"after {within_s:g} s still {found}"
        await asyncio.sleep(_STEP_S)
    return found
