"""Rates as settings write them, and token buckets that keep to them. Pure: the time is passed in, in seconds of a
monotonic clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

EVERYBODY = "*"
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/s:([0-9]+)")
_MOST = 10**9


@dataclass(frozen=True, slots=True)
class Rate:
    """So many recipients a second in the long run, and so many at once after a pause."""

    per_second: float
    burst: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """The rate that `500/s:5000` writes. Raises ValueError."""
        found = _RATE.fullmatch(text.strip())
        if found is None:
            raise ValueError("must be written like 500/s:5000: recipients a second, and at once")
        rate = cls(float(found[1]), int(found[2]))
        if not (0 < rate.per_second <= _MOST and 0 < rate.burst <= _MOST):
            raise ValueError(f"must be more than 0 and at most {_MOST:,}, a second and at once")
        return rate


def parse(text: str) -> Mapping[str, Rate]:
    """Rate by name, as `*=2000/s:10000,feed=20000/s:100000` writes them. Raises ValueError."""
    found: dict[str, Rate] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rate = (piece.strip() for piece in part.partition("="))
        if not name or name in found:
            raise ValueError("must be caller=rate, several separated by commas, each caller once")
        found[name] = Rate.parse(rate)
    return found


class Bucket:
    """The tokens of one caller for one purpose. What this process took counts at once, what others took as soon as
    somebody tells: then there may be less than nothing, and what was taken too much is owed."""

    __slots__ = ("_level", "_moment", "rate", "spent")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        # What was taken here and not told yet.
        self.spent = 0
        self._level = float(rate.burst)
        self._moment = now

    def level(self, now: float) -> float:
        """How many there are."""
        self._level = min(self.rate.burst, self._level + (now - self._moment) * self.rate.per_second)
        self._moment = now
        return self._level

    def take(self, count: int, now: float) -> bool:
        """Takes `count`, or none. Who asks for more than there can ever be gets them out of a full bucket."""
        if self.level(now) < min(count, self.rate.burst):
            return False
        self._level -= count
        self.spent += count
        return True

    def wait_s(self, count: int, now: float) -> float:
        """Seconds until `take` would give `count`; 0 where it would now."""
        return max(0.0, (min(count, self.rate.burst) - self.level(now)) / self.rate.per_second)

    def full_s(self, now: float) -> float:
        """Seconds until it is full."""
        return (self.rate.burst - self.level(now)) / self.rate.per_second

    def settle(self, level: float, told: int, now: float) -> None:
        """`level` is what everybody left over, `told` of it ours."""
        self.spent -= told
        self._level = min(self.rate.burst, level - self.spent)
        self._moment = now

    def keep(self, now: float) -> None:
        """Nobody can be told. What was taken and has come back since is forgotten, else an outage would be paid
        for afterwards."""
        self.spent = min(self.spent, max(0, round(self.rate.burst - self.level(now))))

    def idle(self, now: float) -> bool:
        """Whether a new one would be the same."""
        return self.spent == 0 and self.level(now) >= self.rate.burst
