"""Rates as settings write them, and buckets that keep to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.intake.rate import Bucket, Rate, parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("*=2000/s:10000", {"*": Rate(2_000, 10_000)}),
        (" *=0.5/s:1 , feed = 20000/s:100000,", {"*": Rate(0.5, 1), "feed": Rate(20_000, 100_000)}),
    ],
)
def test_told(text: str, found: dict[str, Rate]) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("feed", "must be written like"),
        ("feed=", "must be written like"),
        ("feed=5", "must be written like"),
        ("feed=5/m:1", "must be written like"),
        ("feed=-1/s:1", "must be written like"),
        ("feed=nan/s:1", "must be written like"),
        ("feed=1e3/s:1", "must be written like"),
        ("feed=0/s:1", "more than 0"),
        ("feed=1/s:0", "more than 0"),
        (f"feed={'9' * 400}/s:1", "at most"),
        ("=1/s:1", "each caller once"),
        ("feed=1/s:1,feed=2/s:2", "each caller once"),
    ],
)
def test_what_is_wrong_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)


@given(
    st.floats(0.1, 1_000),
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 300)), min_size=1, max_size=60),
)
def test_a_bucket_keeps_to_its_rate(per_second: float, burst: int, asks: list[tuple[float, int]]) -> None:
    now = began = 1_000.0
    bucket, taken = Bucket(Rate(per_second, burst), now), 0
    for pause_s, count in asks:
        now += pause_s
        wait_s = bucket.wait_s(count, now)
        if bucket.take(count, now):
            assert wait_s == 0
            taken += count
            # Only who asks for more than there can be gets more, and that is owed.
            assert taken <= burst + per_second * (now - began) + max(0, count - burst) + 1e-6
        else:
            assert wait_s > 0
            assert bucket.wait_s(count, now + wait_s + 1e-6) == 0
    assert bucket.spent == taken


def test_more_than_fits_waits_for_a_full_bucket_and_is_owed() -> None:
    bucket = Bucket(Rate(10, 100), 0.0)
    assert bucket.take(250, 0.0)
    assert bucket.level(0.0) == -150
    assert not bucket.take(1, 15.0)
    assert bucket.take(1, 15.2)
    assert bucket.wait_s(250, 15.2) == pytest.approx(9.9, abs=0.1)


def test_what_others_took_counts_when_it_is_told() -> None:
    bucket = Bucket(Rate(10, 100), 0.0)
    assert bucket.take(30, 0.0)
    told = bucket.spent
    assert bucket.take(5, 0.0)
    # Others took 60.
    bucket.settle(10, told, 0.0)
    assert (bucket.level(0.0), bucket.spent) == (5, 5)
    assert not bucket.take(6, 0.0)


def test_an_outage_is_not_paid_for_afterwards() -> None:
    bucket = Bucket(Rate(10, 100), 0.0)
    for second in range(1_000):
        assert bucket.take(10, float(second))
        bucket.keep(float(second))
    assert bucket.spent <= 100


def test_a_bucket_is_idle_when_it_is_as_good_as_new() -> None:
    bucket = Bucket(Rate(10, 100), 0.0)
    assert bucket.idle(0.0)
    assert bucket.take(10, 0.0)
    assert not bucket.idle(1.0)
    bucket.settle(100, 10, 1.0)
    assert bucket.idle(1.0)
