"""Waiting that ends early."""

from __future__ import annotations

import asyncio
import time

from crown.stopping import pause, wake_when


async def test_a_pause_ends_by_itself() -> None:
    await pause(asyncio.Event(), 0.01)


async def test_stopping_ends_a_pause_for_everybody_and_stays_set() -> None:
    stopping = asyncio.Event()
    pauses = asyncio.gather(*(pause(stopping, 60) for _ in range(3)))
    await asyncio.sleep(0)
    began = time.monotonic()
    stopping.set()
    await pauses
    assert time.monotonic() - began < 5
    assert stopping.is_set()


async def test_who_waits_for_work_hears_of_the_end() -> None:
    stopping, wake = asyncio.Event(), asyncio.Event()
    waker = asyncio.create_task(wake_when(stopping, wake))
    await asyncio.sleep(0)
    assert not wake.is_set()
    stopping.set()
    await waker
    assert wake.is_set()
