"""What JetStream refuses, by its own numbers. What callers of the suite hear of it stands in crown/errors.py."""

from __future__ import annotations

from crown.errors import BusUnavailable

NO_CONSUMER = 10014
NO_STREAM = 10059
# A stream at its bound, which refuses a message or a whole batch.
FULL = frozenset({10077, 10167})


class BusError(Exception):
    """JetStream refused; `err_code` is its number for why."""

    # NATS's own words, about streams and consumers.
    safe_text = True

    def __init__(self, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.err_code = err_code


class NoTaker(BusUnavailable):
    """NATS is there, and no stream takes what was published: it has no leader at this moment, or is not there."""
