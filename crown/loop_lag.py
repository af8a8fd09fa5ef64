"""Measures how late the event loop is: what runs for long without an await keeps everything else waiting, calls,
sockets and acks alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Often enough that what blocks for a quarter of a second is seen each time, and a thousandth of a core at most.
PERIOD_S = 0.25


@contextmanager
def measured(observe: Callable[[float], None], period_s: float = PERIOD_S) -> Iterator[None]:
    """While the block runs, tells `observe` every `period_s` by how many seconds a timer of the running loop came
    late."""
    timer = _Timer(asyncio.get_running_loop(), observe, period_s)
    timer.begin()
    try:
        yield
    finally:
        timer.end()


class _Timer:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, observe: Callable[[float], None], period_s: float
    ) -> None:
        self._loop = loop
        self._observe = observe
        self._period_s = period_s
        self._handle: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._handle = self._loop.call_at(due := self._loop.time() + self._period_s, self._come, due)

    def end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _come(self, due: float) -> None:
        # The loop's clock counts milliseconds, and may come one early.
        self._observe(max(0.0, self._loop.time() - due))
        self.begin()
