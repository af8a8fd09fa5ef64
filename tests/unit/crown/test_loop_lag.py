"""How late the event loop is, is measured."""

from __future__ import annotations

import asyncio
import time

from crown import loop_lag

PERIOD_S = 0.005


class Seen:
    """Every lag that was told."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self._told = asyncio.Event()

    def __call__(self, lag_s: float) -> None:
        self.lags.append(lag_s)
        self._told.set()

    async def next(self) -> float:
        """The next one."""
        self._told.clear()
        await self._told.wait()
        return self.lags[-1]


async def test_a_loop_that_is_held_up_is_seen_to_be_late() -> None:
    seen = Seen()
    with loop_lag.measured(seen, PERIOD_S):
        await seen.next()
        time.sleep(0.2)  # noqa: ASYNC251 -- what no code of ours may do
        assert 0.1 < await seen.next() < 10
    assert min(seen.lags) >= 0


async def test_it_measures_only_within_the_block() -> None:
    seen = Seen()
    with loop_lag.measured(seen, PERIOD_S):
        await seen.next()
    known = len(seen.lags)
    await asyncio.sleep(PERIOD_S * 10)
    assert len(seen.lags) == known
