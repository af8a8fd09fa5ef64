"""Rates: how they are told, and what holds while Redis is away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError

from crown.rates import Bucket, Rates, parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("twilio=50", {"twilio": 50.0}),
        (" twilio = 50 , sns=0.5,", {"twilio": 50.0, "sns": 0.5}),
        ("smtp=1e3", {"smtp": 1000.0}),
    ],
)
def test_told(text: str, found: dict[str, float]) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("twilio", "must give twilio more than 0"),
        ("twilio=", "must give twilio more than 0"),
        ("twilio=0", "must give twilio more than 0"),
        ("twilio=-1", "must give twilio more than 0"),
        ("twilio=nan", "must give twilio more than 0"),
        ("twilio=inf", "at most 100,000"),
        ("twilio=fast", "must give twilio more than 0"),
        ("=5", "each name once"),
        ("sns=1,sns=2", "each name once"),
    ],
)
def test_what_is_wrong_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)


@given(
    st.floats(0.1, 1_000),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), min_size=1, max_size=60),
)
def test_a_bucket_keeps_to_its_rate(per_second: float, asks: list[tuple[float, int]]) -> None:
    bucket, now, count = Bucket(), 1_000.0, 0
    began = now
    for pause_s, most in asks:
        now += pause_s
        granted = bucket.take(per_second, most, now)
        assert 0 <= granted.count <= most
        count += granted.count
        burst = max(1.0, 0.25 * per_second)
        assert count <= per_second * (now - began) + burst + 1e-6
        if granted.count < most:
            assert 0 <= granted.wait_s <= 1 / per_second + 1e-6
            assert bucket.take(per_second, 1, now + granted.wait_s + 1e-6).count == 1
            count += 1
            now += granted.wait_s + 1e-6


class Redis:
    """Away; or there, with so many processes."""

    def __init__(self) -> None:
        self.processes = 0

    def register_script(self, _text: str) -> Any:
        async def ask(_keys: list[str], _arguments: list[Any]) -> list[int]:
            if not self.processes:
                raise RedisConnectionError("away")
            return [1, 0, self.processes]

        return ask


@pytest.mark.parametrize(("processes", "granted"), [(0, 2), (4, 6)])
async def test_while_redis_is_away_each_keeps_to_its_part(processes: int, granted: int) -> None:
    redis = Redis()
    rates = Rates("sms", {"twilio": 100.0}, redis)  # type: ignore[arg-type]
    if redis.processes or processes:
        redis.processes = processes
        assert (await rates.take("twilio", 5, 1.0)).count == 1
        redis.processes = 0
    # A tenth of it, or a quarter; and what a quarter of a second allows at once.
    assert (await rates.take("twilio", 100, 1.0)).count == granted
    assert (await rates.take("twilio", 100, 1.0)).count == 0
