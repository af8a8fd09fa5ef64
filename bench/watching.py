"""What it costs a process to be watched: a line of its log, and a snapshot of its metrics for the console. Processor
time of our own code alone, as nothing else of the suite takes part."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import structlog

from bench.site import Site
from bench.table import Figure
from crown import logs, metrics, tracing, vitals

_LINES, _SNAPSHOTS, _TRIES = 5_000, 50, 5
# As many series of calls as the busiest process has.
_METHODS = 40
log = logs.get(__name__)


async def measure(site: Site) -> list[Figure]:
    """Both."""
    del site
    for number in range(_METHODS):
        metrics.RPC.labels(f"Method{number}", "OK").observe(0.01)
    return [*_lines(), Figure("a snapshot for the console", f"{_us(_snapshot, _SNAPSHOTS) / 1_000:.1f} ms")]


def _snapshot() -> None:
    vitals.snapshot("bench")


def _lines() -> list[Figure]:
    """Lines go to nowhere, as otherwise the figure would be that of the disk."""
    with open(os.devnull, "wb") as nowhere:
        logs.set_up("bench")
        structlog.configure(logger_factory=structlog.BytesLoggerFactory(nowhere))
        try:
            tracing.adopt(None)
            logs.bind(notification_id="n" * 36, request_id="r" * 36)
            written = _us(lambda: log.info("bench_line", channel="push", provider="fcm"), _LINES)
            held_back = _us(lambda: log.warning("bench_line", reason="SAME", channel="push"), _LINES)
            below = _us(lambda: log.debug("bench_line", channel="push"), _LINES)
        finally:
            logs.bind(notification_id="", request_id="")
            structlog.reset_defaults()
    return [
        Figure("a line of the log, with ids", f"{written:.1f} µs"),
        Figure("one that is held back as repeated", f"{held_back:.1f} µs"),
        Figure("one below the level", f"{below:.2f} µs"),
    ]


def _us(work: Callable[[], object], count: int) -> float:
    """Microseconds of CPU for each, in the best of a few tries."""
    best = float("inf")
    for _ in range(_TRIES):
        began = time.thread_time()
        for _ in range(count):
            work()
        best = min(best, (time.thread_time() - began) / count * 1e6)
    return best
