"""When to try again: to connect to a feed, and to hand a notification over. Pure; chance is passed in."""

from __future__ import annotations

import random

FIRST_S = 0.5
MOST_S = 60.0
# Who is asked may ask for more patience, up to this.
ASKED_MOST_S = 300.0


def delay_s(attempt: int, chance: random.Random, asked_s: float | None = None) -> float:
    """Seconds to wait after the failed attempt number `attempt` (1, 2, …): anything up to 0.5, 1, 2, 4 … 60 s, so
    that relays that failed together do not come back together; and at least what was asked for."""
    own = chance.uniform(0.0, min(FIRST_S * 2.0 ** min(attempt - 1, 30), MOST_S))
    return max(own, min(asked_s or 0.0, ASKED_MOST_S))
