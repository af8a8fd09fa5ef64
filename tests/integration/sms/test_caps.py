"""Caps on what is spent, with a real Redis and without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from crown import presence
from crown.vault import data_key
from services.sms.caps import Caps, Limits, Reached
from tests.integration.rig import Rig, until

NOON = datetime(2026, 11, 25, 12, 20, tzinfo=UTC)
ONE_O_CLOCK, MIDNIGHT = datetime(2026, 11, 25, 13, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC)
KEY = data_key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
ANN, BEN = "+14155550123", "+14155550199"
LIMITS = Limits(number=40, prefix=60, country=80, day=100)


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
    assert await one.reserve("a1", ANN, "US", 30) is None
    assert await other.reserve("a2", ANN, "US", 11) == Reached("number", None)
    # What was refused has taken nothing.
    assert await other.reserve("a3", ANN, "US", 10) is None
    assert await one.reserve("a4", BEN, "US", 10) is None
    clock.moment = ONE_O_CLOCK
    assert await one.reserve("a5", ANN, "US", 40) is None


async def test_numbers_in_a_row(process: Process) -> None:
    one = process()
    assert await one.reserve("a1", ANN, "US", 40) is None
    assert await one.reserve("a2", BEN, "US", 20) is None
    assert await process().reserve("a3", "+14155559999", "US", 1) == Reached("prefix", None)
    assert await process().reserve("a4", "+14155669999", "US", 1) is None


async def test_a_country_waits_for_the_next_hour(process: Process, clock: Clock) -> None:
    one = process()
    for n, number in enumerate((ANN, "+12025560000")):
        assert await one.reserve(f"a{n}", number, "US", 40) is None
    full = Reached("country", ONE_O_CLOCK)
    assert await process().reserve("a3", "+13105550000", "US", 1) == full
    assert await process().reserve("a4", "+491701234567", "DE", 1) is None
    clock.moment = ONE_O_CLOCK
    assert await process().reserve("a5", "+13105550000", "US", 1) is None


async def test_a_day_waits_for_the_next(process: Process, clock: Clock) -> None:
    one = process()
    for n, country in enumerate(("US", "DE", "FR")):
        assert await one.reserve(f"a{n}", f"+1{n}2025560000", country, 33) is None
    clock.moment += timedelta(hours=2)
    assert await process().reserve("a3", ANN, "GB", 2) == Reached("day", MIDNIGHT)
    assert await process().reserve("a4", ANN, "GB", 1) is None
    clock.moment = MIDNIGHT
    assert await process().reserve("a5", ANN, "GB", 40) is None


async def test_the_same_attempt_counts_once(process: Process) -> None:
    one, other = process(), process()
    for caps in (one, one, other):
        assert await caps.reserve("a1", ANN, "US", 30) is None
    assert await other.reserve("a2", ANN, "US", 10) is None
    assert await process().reserve("a1", ANN, "US", 30) is None
    assert await process().reserve("a3", ANN, "US", 1) == Reached("number", None)


async def test_many_at_once_do_not_pass_a_cap(process: Process) -> None:
    caps = [process() for _ in range(4)]
    found = await asyncio.gather(*(caps[n % 4].reserve(f"a{n}", ANN, "US", 1) for n in range(200)))
    assert found.count(None) == LIMITS.number


async def test_redis_sees_no_numbers_and_forgets(process: Process, redis: Redis) -> None:
    assert await process().reserve("a1", ANN, "US", 1) is None
    keys = [str(key) for key in await redis.keys("*")]
    assert len(keys) == 5
    assert not any("1415" in key for key in keys)
    kept_ms = [await redis.pttl(key) for key in await redis.keys("*")]
    assert all(0 < kept <= 26 * 3_600_000 for kept in kept_ms)


async def test_a_redis_that_forgot(process: Process, redis: Redis) -> None:
    caps = process()
    assert await caps.reserve("a1", ANN, "US", 40) is None
    await redis.flushall()
    assert await caps.reserve("a2", ANN, "US", 1) == Reached("number", None)


async def test_redis_away(rig: Rig, process: Process, clock: Clock) -> None:
    caps = process()
    async with rig.suspended("valkey"):
        # A twentieth of what a number may have, and no more, also of what is most urgent.
        assert await caps.reserve("a1", ANN, "US", 2) is None
        assert await caps.reserve("a1", ANN, "US", 2) is None
        assert await caps.reserve("a2", ANN, "US", 1) == Reached("uncounted", NOON + timedelta(seconds=60))
        assert await caps.reserve("a3", BEN, "US", 1) is None
        assert await caps.reserve("a4", "+491701234567", "DE", 2) is None
        # And of the whole day.
        assert (await caps.reserve("a5", "+33612345678", "FR", 1)) == Reached(
            "uncounted", NOON + timedelta(seconds=60)
        )
        began = asyncio.get_running_loop().time()
        assert await caps.reserve("a6", ANN, "US", 1) is not None
        assert asyncio.get_running_loop().time() - began < 1.0
        clock.moment += timedelta(hours=1)
        # The day's twentieth does not come back with the next hour.
        assert await caps.reserve("a7", ANN, "US", 1) is not None


async def test_redis_back(rig: Rig, process: Process) -> None:
    caps = process()
    async with rig.suspended("valkey"):
        assert await caps.reserve("a1", ANN, "US", 3) is not None
    # Asked again after a moment's rest; nothing was spent meanwhile.
    assert await until(lambda: caps.reserve("a1", ANN, "US", 40), lambda found: found is None) is None
