"""How many calls a second each provider gets from all processes of a channel together. Redis counts, in one round
trip for all that a turn of the engine asks for. While it is away each process keeps to an equal part of the rate,
by how many there were when it was last asked; one that never reached it keeps to a tenth."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from crown import logs
from crown.breaker import Away, Breaker

log = logs.get(__name__)

# What may go at once after a pause: what a quarter of a second allows, and at least one.
_BURST_S = 0.25
_ALIVE_S = 30
_LIMIT_S = 0.25
_UNKNOWN_PROCESSES = 10
_RATE_MOST = 100_000.0

# The generic cell rate algorithm, for several at once: the key holds when the next would be on time. In
# microseconds of Redis' own clock; "%.0f", since Lua writes large numbers with too few digits.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, most, alive = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - alive))
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[5])
redis.call('PEXPIRE', KEYS[2], math.ceil(alive / 1000))
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local granted = math.min(most, math.max(0, math.floor((now + burst - due) / interval)))
due = due + granted * interval
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1000)
return {granted, math.max(0, math.ceil(due + interval - burst - now)), redis.call('ZCARD', KEYS[2])}
"""


@dataclass(frozen=True, slots=True)
class Granted:
    """How many calls may be made now, and the seconds until there is another one."""

    count: int
    wait_s: float


class Bucket:
    """The same algorithm for this process alone. Pure."""

    def __init__(self) -> None:
        self._due = 0.0

    def take(self, per_second: float, most: int, now: float) -> Granted:
        """Up to `most` calls at `now`, in seconds of a monotonic clock."""
        interval, burst = 1 / per_second, _burst_s(per_second)
        due = max(self._due, now)
        count = min(most, max(0, math.floor((now + burst - due) / interval + 1e-9)))
        self._due = due + count * interval
        return Granted(count, max(0.0, self._due + interval - burst - now))


class Rates:
    """The rates of one channel's providers."""

    def __init__(self, channel: str, per_second: Mapping[str, float], redis: Redis) -> None:
        self._channel = channel
        self._per_second = dict(per_second)
        self._script = redis.register_script(_TAKE)
        self._breaker = Breaker(_LIMIT_S)
        self._buckets = {name: Bucket() for name in per_second}
        self._worker = os.urandom(8).hex()
        self._processes = _UNKNOWN_PROCESSES

    def limits(self, name: str) -> bool:
        """Whether there is a rate for this provider."""
        return name in self._per_second

    async def take(self, name: str, most: int, now: float) -> Granted:
        """Up to `most` calls of one provider, for this process to make within a second of `now`."""
        per_second = self._per_second[name]
        try:
            count, wait_us, self._processes = await self._breaker.call(lambda: self._ask(name, most))
        except Away:
            return self._buckets[name].take(per_second / self._processes, most, now)
        return Granted(count, wait_us / 1e6)

    async def _ask(self, name: str, most: int) -> tuple[int, int, int]:
        per_second = self._per_second[name]
        interval_us, burst_us = 1e6 / per_second, _burst_s(per_second) * 1e6
        keys = [f"crown:rate:{self._channel}:{name}", f"crown:rate:{self._channel}:{name}:processes"]
        found: Any = await self._script(keys, [interval_us, burst_us, most, _ALIVE_S * 10**6, self._worker])
        count, wait_us, processes = found
        return count, wait_us, processes


def _burst_s(per_second: float) -> float:
    return max(_BURST_S, 1 / per_second)


def parse(text: str) -> Mapping[str, float]:
    """Name to calls a second, as a setting gives them: `twilio=50,sns=0.5`. Raises ValueError."""
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rate = (piece.strip() for piece in part.partition("="))
        if not name or name in found:
            raise ValueError("must be name=calls a second, several separated by commas, each name once")
        try:
            per_second = float(rate)
        except ValueError:
            per_second = 0.0
        if not 0 < per_second <= _RATE_MOST:  # which no NaN passes
            raise ValueError(f"must give {name} more than 0 and at most {_RATE_MOST:,.0f} calls a second")
        found[name] = per_second
    return found
