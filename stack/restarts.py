"""How long to wait before a process that ended is started again. Pure."""

from __future__ import annotations

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 10.0

# A process that served this long has not crashed "again": its next crash starts from the first delay.
STEADY_S = 5.0

# A process that ended this often in a row will not mend itself: its configuration is wrong, or what it needs.
LOOPING = 5

# A process that ends this often before it ever served will not serve by being started once more.
START_ATTEMPTS = 3


def delay_s(crashes: int) -> float:
    """Seconds to wait after crash number `crashes` (1, 2, …) in a row: 0.25, 0.5, 1, 2, 4, 8, then 10."""
    return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(crashes - 1, 10)))


def crashes_in_row(before: int, healthy_s: float) -> int:
    """The count after one more crash of a process that had been healthy for `healthy_s`."""
    return 1 if healthy_s >= STEADY_S else before + 1
