"""Waits double from half a second to a minute, and any part of them may be waited."""

from __future__ import annotations

import random

import pytest

from services.realtime.relay import backoff


class Most(random.Random):
    """Always the longest."""

    def uniform(self, a: float, b: float) -> float:
        """See Random."""
        return b


@pytest.mark.parametrize(
    ("attempt", "most_s"), [(1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (9, 60), (10_000, 60)]
)
def test_the_longest_wait(attempt: int, most_s: float) -> None:
    assert backoff.delay_s(attempt, Most()) == most_s


def test_the_jitter_is_full() -> None:
    chance = random.Random(1)
    found = [backoff.delay_s(8, chance) for _ in range(1_000)]
    assert min(found) < 1
    assert max(found) > 59
    assert 28 < sum(found) / len(found) < 32


@pytest.mark.parametrize(("asked_s", "expected_s"), [(None, 0.5), (0.2, 0.5), (3.0, 3.0), (1e9, 300.0)])
def test_what_is_asked_for_is_waited(asked_s: float | None, expected_s: float) -> None:
    assert backoff.delay_s(1, Most(), asked_s) == expected_s
