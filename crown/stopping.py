"""Waiting that ends early when the process is to stop."""

from __future__ import annotations

import asyncio


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Waits `seconds`, or until `stopping` is set; leaves it as it is."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return


async def wake_when(stopping: asyncio.Event, wake: asyncio.Event) -> None:
    """Sets `wake` as soon as `stopping` is set, for who waits for work. Run it as a task beside them."""
    await stopping.wait()
    wake.set()
