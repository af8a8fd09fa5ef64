"""How often something may happen, and how much of it at a time."""

from __future__ import annotations

import pytest

from services.realtime.limits import Bucket, Limits, Pace, Tally


def taken(bucket: Bucket, moments: list[float]) -> list[bool]:
    """What each moment is told."""
    return [bucket.take(now) for now in moments]


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = Bucket(Pace.of(rate=10, burst=3))
    assert taken(bucket, [100.0] * 4) == [True, True, True, False]
    assert taken(bucket, [100.101, 100.102, 100.201]) == [True, False, True]


def test_a_pause_fills_the_bucket_and_no_more() -> None:
    bucket = Bucket(Pace.of(rate=10, burst=3))
    assert all(taken(bucket, [100.0] * 3))
    assert taken(bucket, [500.0] * 4) == [True, True, True, False]


def test_what_is_refused_costs_nothing() -> None:
    bucket = Bucket(Pace.of(rate=1, burst=1))
    assert taken(bucket, [10.0, 10.1, 10.5, 11.0]) == [True, False, False, True]


def test_over_time_it_is_the_rate() -> None:
    bucket = Bucket(Pace.of(rate=50, burst=10))
    assert sum(taken(bucket, [number / 1000 for number in range(10_000)])) == 509


def test_a_rate_of_nothing_is_no_limit() -> None:
    bucket = Bucket(Pace.of(rate=0, burst=1))
    assert all(taken(bucket, [5.0] * 10_000))
    assert Limits(message_rate=0).messages == Limits(accept_rate=0).accepts == Pace(0.0, 0.0)


def test_a_client_is_full_at_its_most_and_others_are_not() -> None:
    tally = Tally(2)
    tally.add("a")
    tally.add("a")
    assert tally.full("a")
    assert not tally.full("b")
    tally.remove("a")
    assert not tally.full("a")


def test_who_has_nothing_is_forgotten() -> None:
    tally = Tally(2)
    for client in ("a", "a", "b"):
        tally.add(client)
    assert len(tally) == 2
    for client in ("a", "b", "a"):
        tally.remove(client)
    assert len(tally) == 0


@pytest.mark.parametrize("number", [1, 1_000])
def test_no_most_is_no_limit(number: int) -> None:
    tally = Tally(0)
    for _ in range(number):
        tally.add("a")
    assert not tally.full("a")
