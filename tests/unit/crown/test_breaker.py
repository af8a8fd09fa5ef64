"""Nobody waits for a Redis that was away a moment ago."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from crown.breaker import Away, Breaker


class Redis:
    """Answers 1, fails, or hangs."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.hangs = False

    async def __call__(self) -> int:
        self.calls += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return 1


@pytest.mark.parametrize("error", [RedisConnectionError("x"), ResponseError("x"), OSError("x")], ids=repr)
async def test_a_failure_is_told_as_one_thing(error: Exception) -> None:
    redis, breaker = Redis(), Breaker()
    redis.error = error
    with pytest.raises(Away):
        await breaker.call(redis)


async def test_a_bug_is_no_outage() -> None:
    redis, breaker = Redis(), Breaker()
    redis.error = KeyError("x")
    with pytest.raises(KeyError):
        await breaker.call(redis)
    redis.error = None
    assert await breaker.call(redis) == 1


async def test_after_a_failure_nobody_asks_for_a_while() -> None:
    redis, breaker = Redis(), Breaker(limit_s=0.02, pause_s=0.05)
    redis.hangs = True
    with pytest.raises(Away):
        await breaker.call(redis)
    redis.hangs = False
    for _ in range(3):
        with pytest.raises(Away):
            await breaker.call(redis)
    assert redis.calls == 1
    await asyncio.sleep(0.06)
    assert await breaker.call(redis) == 1
    assert await breaker.call(redis) == 1


async def test_then_one_tries_and_the_others_do_not_wait_for_it() -> None:
    redis, breaker = Redis(), Breaker(limit_s=0.2, pause_s=0)
    redis.error = OSError("x")
    with pytest.raises(Away):
        await breaker.call(redis)
    redis.error, redis.hangs = None, True
    trying = asyncio.create_task(breaker.call(redis))
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Away):
        await breaker.call(redis)
    assert asyncio.get_running_loop().time() - began < 0.1
    assert redis.calls == 2
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    redis.hangs = False
    assert await breaker.call(redis) == 1
