"""Waits for the signal that ends a process in good order."""

from __future__ import annotations

import asyncio
import signal


async def until_stopped() -> None:
    """Returns once SIGTERM or SIGINT has come."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
