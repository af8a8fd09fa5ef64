"""Ends a process whose event loop stands still: an endless loop answers to no time limit, and while it lasts the
process neither works nor dies. Ended, it is started anew, and what it was working on counts as having killed it."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# More than anything may take that is no loop, less than the 30 s after which JetStream gives the message to others.
STILL_MOST_S = 20.0
STATUS = 70
_TICK_S = 1.0


@contextmanager
def watching(still_most_s: float = STILL_MOST_S, tick_s: float = _TICK_S) -> Iterator[None]:
    """Watches the running loop while the block runs."""
    loop, beats, done = asyncio.get_running_loop(), _Beats(), threading.Event()
    handle = loop.call_soon(beats.beat, loop, tick_s)
    most = max(1, round(still_most_s / tick_s))
    threading.Thread(target=_watch, args=(beats, done, most, tick_s), name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        done.set()
        (beats.handle or handle).cancel()


class _Beats:
    def __init__(self) -> None:
        self.count = 0
        self.handle: asyncio.TimerHandle | None = None

    def beat(self, loop: asyncio.AbstractEventLoop, tick_s: float) -> None:
        self.count += 1
        self.handle = loop.call_later(tick_s, self.beat, loop, tick_s)


def _watch(beats: _Beats, done: threading.Event, most: int, tick_s: float) -> None:
    # Counts its own ticks and not the time: a process that was stopped, or a machine that slept, stood still as a
    # whole, and is none that hangs.
    seen, still = beats.count, 0
    while not done.wait(tick_s):
        still = still + 1 if beats.count == seen else 0
        seen = beats.count
        if still > most:
            faulthandler.dump_traceback(file=sys.stderr)
            os._exit(STATUS)
