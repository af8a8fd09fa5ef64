"""Caps on what is spent, with a real Redis and without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from crown import metrics, presence
from crown.vault import data_key
from services.sms.caps import Caps, Expense, Limits, Reached
from tests.integration.rig import Rig, until

NOON = datetime(2026, 11, 25, 12, 20, tzinfo=UTC)
ONE_O_CLOCK, MIDNIGHT = datetime(2026, 11, 25, 13, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC)
KEY = data_key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
ANN, BEN = "+14155550123", "+14155550199"
LIMITS = Limits(number=40, prefix=60, country=80, day=100, caller_percent=100, reserve_percent=0)
SHARED = Limits(number=1_000, prefix=1_000, country=100, day=200, caller_percent=50, reserve_percent=20)


def text(
    attempt: str, number: str, country: str, segments: int, caller: str = "feed", urgent: bool = False
) -> Expense:
    return Expense(attempt, number, country, segments, caller, urgent)


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
async def redis(rig: Rig) -> AsyncIterator[Redis]:
    """As the service connects."""
    await rig.redis.flushall()
    opened = presence.connect(rig.environment["REDIS_HOST"])
    yield opened
    await opened.aclose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


Process = Callable[[], Caps]


@pytest.fixture
def process(redis: Redis, clock: Clock) -> Process:
    """Another process of the service."""
    return lambda: Caps(redis, LIMITS, KEY, clock)


async def test_a_number(process: Process, clock: Clock) -> None:
    one, other = process(), process()
    assert await one.reserve(text("a1", ANN, "US", 30)) is None
    assert await other.reserve(text("a2", ANN, "US", 11)) == Reached("number", None)
    # What was refused has taken nothing.
    assert await other.reserve(text("a3", ANN, "US", 10)) is None
    assert await one.reserve(text("a4", BEN, "US", 10)) is None
    clock.moment = ONE_O_CLOCK
    assert await one.reserve(text("a5", ANN, "US", 40)) is None


async def test_numbers_in_a_row(process: Process) -> None:
    one = process()
    assert await one.reserve(text("a1", ANN, "US", 40)) is None
    assert await one.reserve(text("a2", BEN, "US", 20)) is None
    assert await process().reserve(text("a3", "+14155559999", "US", 1)) == Reached("prefix", None)
    assert await process().reserve(text("a4", "+14155669999", "US", 1)) is None


async def test_a_country_waits_for_the_next_hour(process: Process, clock: Clock) -> None:
    one = process()
    for n, number in enumerate((ANN, "+12025560000")):
        assert await one.reserve(text(f"a{n}", number, "US", 40)) is None
    full = Reached("country", ONE_O_CLOCK)
    assert await process().reserve(text("a3", "+13105550000", "US", 1)) == full
    assert await process().reserve(text("a4", "+491701234567", "DE", 1)) is None
    clock.moment = ONE_O_CLOCK
    assert await process().reserve(text("a5", "+13105550000", "US", 1)) is None


async def test_a_day_waits_for_the_next(process: Process, clock: Clock) -> None:
    one = process()
    for n, country in enumerate(("US", "DE", "FR")):
        assert await one.reserve(text(f"a{n}", f"+1{n}2025560000", country, 33)) is None
    clock.moment += timedelta(hours=2)
    assert await process().reserve(text("a3", ANN, "GB", 2)) == Reached("day", MIDNIGHT)
    assert await process().reserve(text("a4", ANN, "GB", 1)) is None
    clock.moment = MIDNIGHT
    assert await process().reserve(text("a5", ANN, "GB", 40)) is None


async def test_a_caller_leaves_room_for_others(redis: Redis, clock: Clock) -> None:
    one, other = (Caps(redis, SHARED, KEY, clock) for _ in range(2))
    for n, country in enumerate(("US", "DE")):
        assert await one.reserve(text(f"a{n}", ANN, country, 50, "ads")) is None
    # Urgent or not, in whichever process.
    for caps, urgent in ((one, False), (other, False), (other, True)):
        assert await caps.reserve(text("a3", ANN, "FR", 1, "ads", urgent)) == Reached("caller", MIDNIGHT)
    assert await other.reserve(text("a4", ANN, "FR", 50, "feed")) is None
    clock.moment = MIDNIGHT
    assert await other.reserve(text("a5", ANN, "FR", 80, "ads")) is None


async def test_a_reserve_of_the_day_is_for_what_is_urgent(redis: Redis, clock: Clock) -> None:
    caps, other = (Caps(redis, SHARED, KEY, clock) for _ in range(2))
    for n, (country, caller) in enumerate((("US", "ads"), ("DE", "feed"))):
        assert await caps.reserve(text(f"a{n}", ANN, country, 80, caller)) is None
    for each in (caps, other):
        assert await each.reserve(text("a3", ANN, "FR", 1, "auth")) == Reached("day", MIDNIGHT)
    assert await other.reserve(text("a4", ANN, "FR", 40, "auth", urgent=True)) is None
    # More than the day has, nobody gets.
    assert await caps.reserve(text("a5", ANN, "FR", 1, "auth", urgent=True)) == Reached("day", MIDNIGHT)


async def test_a_reserve_of_a_country_is_for_what_is_urgent(redis: Redis, clock: Clock) -> None:
    caps = Caps(redis, SHARED, KEY, clock)
    assert await caps.reserve(text("a1", ANN, "US", 80, "ads")) is None
    assert await caps.reserve(text("a2", ANN, "US", 1, "auth")) == Reached("country", ONE_O_CLOCK)
    assert await caps.reserve(text("a3", ANN, "US", 20, "auth", urgent=True)) is None
    assert await caps.reserve(text("a4", ANN, "US", 1, "auth", urgent=True)) == Reached(
        "country", ONE_O_CLOCK
    )


async def test_it_is_told_that_a_caller_is_near_its_share(redis: Redis, clock: Clock) -> None:
    one, other = (Caps(redis, SHARED, KEY, clock) for _ in range(2))
    near = metrics.TEXTS_NEAR_SHARE.labels("near")
    for n, (caps, told) in enumerate([(one, 0), (other, 0), (one, 1), (other, 2)]):
        # 40, 80, 81 and 82 of 100: what all processes spent counts.
        assert await caps.reserve(text(f"a{n}", ANN, f"{n}", 40 if n < 2 else 1, "near")) is None
        assert near._value.get() == told
    assert await one.reserve(text("a3", ANN, "3", 1, "near")) is None
    assert near._value.get() == 2


async def test_the_same_attempt_counts_once(process: Process) -> None:
    one, other = process(), process()
    for caps in (one, one, other):
        assert await caps.reserve(text("a1", ANN, "US", 30)) is None
    assert await other.reserve(text("a2", ANN, "US", 10)) is None
    assert await process().reserve(text("a1", ANN, "US", 30)) is None
    assert await process().reserve(text("a3", ANN, "US", 1)) == Reached("number", None)


async def test_many_at_once_do_not_pass_a_cap(process: Process) -> None:
    caps = [process() for _ in range(4)]
    found = await asyncio.gather(*(caps[n % 4].reserve(text(f"a{n}", ANN, "US", 1)) for n in range(200)))
    assert found.count(None) == LIMITS.number


async def test_redis_sees_no_numbers_and_forgets(process: Process, redis: Redis) -> None:
    assert await process().reserve(text("a1", ANN, "US", 1)) is None
    keys = [str(key) for key in await redis.keys("*")]
    assert len(keys) == 6
    assert not any("1415" in key for key in keys)
    kept_ms = [await redis.pttl(key) for key in await redis.keys("*")]
    assert all(0 < kept <= 26 * 3_600_000 for kept in kept_ms)


async def test_a_redis_that_forgot(process: Process, redis: Redis) -> None:
    caps = process()
    assert await caps.reserve(text("a1", ANN, "US", 40)) is None
    await redis.flushall()
    assert await caps.reserve(text("a2", ANN, "US", 1)) == Reached("number", None)


async def test_redis_away(rig: Rig, process: Process, clock: Clock) -> None:
    caps = process()
    async with rig.suspended("valkey"):
        # A twentieth of what a number may have, and no more, also of what is most urgent.
        assert await caps.reserve(text("a1", ANN, "US", 2)) is None
        assert await caps.reserve(text("a1", ANN, "US", 2)) is None
        assert await caps.reserve(text("a2", ANN, "US", 1)) == Reached(
            "uncounted", NOON + timedelta(seconds=60)
        )
        assert await caps.reserve(text("a3", BEN, "US", 1)) is None
        assert await caps.reserve(text("a4", "+491701234567", "DE", 2)) is None
        # And of the whole day.
        assert (await caps.reserve(text("a5", "+33612345678", "FR", 1))) == Reached(
            "uncounted", NOON + timedelta(seconds=60)
        )
        began = asyncio.get_running_loop().time()
        assert await caps.reserve(text("a6", ANN, "US", 1)) is not None
        assert asyncio.get_running_loop().time() - began < 1.0
        clock.moment += timedelta(hours=1)
        # The day's twentieth does not come back with the next hour.
        assert await caps.reserve(text("a7", ANN, "US", 1)) is not None


async def test_redis_back(rig: Rig, process: Process) -> None:
    caps = process()
    async with rig.suspended("valkey"):
        assert await caps.reserve(text("a1", ANN, "US", 3)) is not None
    # Asked again after a moment's rest; nothing was spent meanwhile.
    assert await until(lambda: caps.reserve(text("a1", ANN, "US", 40)), lambda found: found is None) is None
