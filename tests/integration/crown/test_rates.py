"""Rates that all processes share, on a real Valkey."""

from __future__ import annotations

import asyncio
import time

from crown.rates import Rates
from tests.integration.rig import Rig


async def test_several_processes_get_no_more_than_one(rig: Rig) -> None:
    """Four that ask as often as they can, for a second and a half, of a rate of 100 a second."""
    workers = [Rates("sms", {"twilio": 100.0}, rig.redis) for _ in range(4)]
    began, limit = time.monotonic(), 1.5

    async def greedy(rates: Rates) -> int:
        count = 0
        while (now := time.monotonic()) < began + limit:
            granted = await rates.take("twilio", 20, now)
            count += granted.count
            await asyncio.sleep(min(granted.wait_s, 0.05))
        return count

    counts = await asyncio.gather(*map(greedy, workers))
    took_s = time.monotonic() - began
    # The rate, and what a quarter of a second allows at once.
    assert 100 * limit * 0.8 <= sum(counts) <= 100 * took_s + 25
    assert min(counts) > 0


async def test_providers_and_channels_do_not_share(rig: Rig) -> None:
    sms = Rates("sms", {"twilio": 1.0, "sns": 1.0}, rig.redis)
    email = Rates("email", {"twilio": 1.0}, rig.redis)
    await rig.redis.flushall()
    found = [
        (await rates.take(name, 5, time.monotonic())).count
        for rates, name in ((sms, "twilio"), (sms, "sns"), (email, "twilio"), (sms, "twilio"))
    ]
    assert found == [1, 1, 1, 0]


async def test_each_knows_how_many_there_are(rig: Rig) -> None:
    await rig.redis.flushall()
    workers = [Rates("sms", {"twilio": 100.0}, rig.redis) for _ in range(3)]
    for rates in (*workers, *workers):
        await rates.take("twilio", 1, time.monotonic())
    assert [rates._processes for rates in workers] == [3, 3, 3]


async def test_what_is_waited_for_comes(rig: Rig) -> None:
    rates = Rates("sms", {"slow": 5.0}, rig.redis)
    first = await rates.take("slow", 3, time.monotonic())
    assert first.count == 1
    assert 0.1 < first.wait_s <= 0.2
    await asyncio.sleep(first.wait_s + 0.002)
    assert (await rates.take("slow", 3, time.monotonic())).count == 1


async def test_while_redis_hangs_nobody_waits_for_it(rig: Rig) -> None:
    await rig.redis.flushall()
    rates = Rates("sms", {"twilio": 100.0}, rig.redis)
    await rates.take("twilio", 1, time.monotonic())
    async with rig.suspended("valkey"):
        began = time.monotonic()
        assert (await rates.take("twilio", 100, began)).count == 25
        assert time.monotonic() - began < 1
