"""Latencies as HDR histograms, so that runs and processes can be put together without losing the tail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

_MOST_US = 60_000_000
_DIGITS = 3


class Latencies:
    """Seconds in, milliseconds out."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _MOST_US, _DIGITS)

    @classmethod
    def of(cls, values_s: Iterable[float]) -> Latencies:
        """The latencies in `values_s`; longer than a minute counts as a minute."""
        made = cls()
        # Counted first: recording is slow, and many values are the same microsecond.
        for value_us, count in Counter(int(value * 1e6) for value in values_s).items():
            made._histogram.record_value(min(max(value_us, 1), _MOST_US), count)
        return made

    @classmethod
    def read(cls, text: str) -> Latencies:
        """What `text` gave."""
        made = cls()
        made._histogram.decode_and_add(text.encode())
        return made

    def text(self) -> str:
        """In a form that another process can read."""
        return bytes(self._histogram.encode()).decode()

    def add(self, other: Latencies) -> None:
        """Takes those of `other` in."""
        self._histogram.add(other._histogram)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._histogram.get_total_count())

    def at(self, percent: float) -> float:
        """Milliseconds that `percent` of them do not exceed; 0 where there are none."""
        return float(self._histogram.get_value_at_percentile(percent)) / 1000
