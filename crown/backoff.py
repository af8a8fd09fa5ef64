"""When to try again. Pure; chance is passed in."""

from __future__ import annotations

import random

FIRST_S = 2.0
MOST_S = 900.0
# A provider that asks for more waits no longer than this.
ASKED_MOST_S = 3600.0
ATTEMPTS_MOST = 12


def plain_s(attempt: int) -> float:
    """Seconds to wait after the failed attempt number `attempt` (1, 2, …), before jitter: 2, 4, 8, 16, 32,
    64, 128, 256, 512, then 900 for ever. Twelve attempts span about 47 minutes."""
    return min(FIRST_S * 2.0 ** min(attempt - 1, 30), MOST_S)


def delay_s(attempt: int, asked_s: float | None, chance: random.Random) -> float:
    """`plain_s` with jitter of up to a quarter either way, so that what failed together does not come back
    together; at least what the provider asked for, which counts up to an hour."""
    own = plain_s(attempt) * chance.uniform(0.75, 1.25)
    if asked_s is None or asked_s <= 0:
        return own
    return max(own, min(asked_s, ASKED_MOST_S))
