"""What each calling service may send, so that none of them delays another. Above the rate that operators gave it, a
caller is refused; above its share of a lane, what it sends travels on the next lower one and is not refused.

Every process decides by itself and at once. Ten times a second it tells Redis what it let through, and learns what
all of them did: in between they may let through too much together, which is owed then. While Redis is away each keeps
to the whole rate by itself."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from redis.asyncio import Redis

from crown import logs, metrics, subjects
from crown.breaker import Away, Breaker
from crown.errors import RateLimited
from crown.notification.v1.types_pb2 import Priority
from services.ingest.intake.rate import EVERYBODY, Bucket, Rate

log = logs.get(__name__)

Headers = tuple[tuple[str, str], ...]

_PERIOD_S = 0.1
_LIMIT_S = 0.25
# Buckets that one call of Redis settles.
_BUCKETS_A_CALL = 500
_CALLS = "calls"
_BELOW = {Priority.CRITICAL: Priority.NORMAL, Priority.NORMAL: Priority.BULK}

# For each key: takes what was spent, fills up what time has brought, and answers what is left, which may be less
# than nothing. With fixed digits, since Lua writes numbers with too few, and answers whole ones only.
_SETTLE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local found = {}
for i, key in ipairs(KEYS) do
  local spent, per_second, burst = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local kept = redis.call('HMGET', key, 'level', 'time')
  local level = burst
  if kept[1] then
    level = math.min(burst, kept[1] + (now - kept[2]) * per_second)
  end
  level = level - spent
  redis.call('HSET', key, 'level', string.format('%.3f', level), 'time', string.format('%.6f', now))
  redis.call('PEXPIRE', key, string.format('%.0f', (burst - level) / per_second * 1000 + 1000))
  found[i] = string.format('%.3f', level)
end
return found
"""


class Quota:
    """The buckets of all callers. `rates` are what callers may send at all, by name or for everybody; `shares` what
    each may send on a lane. Who or what is not named has no bound."""

    def __init__(
        self,
        rates: Mapping[str, Rate],
        shares: Mapping[Priority.Type.ValueType, Rate],
        redis: Redis,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = rates
        self._shares = shares
        self._clock = clock
        lanes = [*subjects.LANES]
        self._demoted = {
            (asked, given): metrics.DEMOTED.labels(subjects.LANES[asked], subjects.LANES[given])
            for asked in lanes
            for given in lanes[lanes.index(asked) + 1 :]
        }
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._script = redis.register_script(_SETTLE)
        self._breaker = Breaker(_LIMIT_S)

    def refusal(self, caller: str, recipients: int) -> RateLimited | None:
        """Why this caller may not send to so many now; None where it may, and then they are counted."""
        bucket = self._bucket(_CALLS, caller, self._rate(caller))
        now = self._clock()
        if bucket is None or bucket.take(recipients, now):
            return None
        metrics.REFUSED.labels(RateLimited.reason).inc()
        rate = bucket.rate
        return RateLimited(
            f"this service may send to {rate.per_second:g} people a second, and to {rate.burst} at once",
            retry_after_s=math.ceil(bucket.wait_s(recipients, now) * 1_000) / 1_000,
            headers=self.headers(caller),
        )

    def headers(self, caller: str) -> Headers:
        """What an answer tells this caller of its rate; nothing where it has none."""
        bucket = self._bucket(_CALLS, caller, self._rate(caller))
        if bucket is None:
            return ()
        now, rate = self._clock(), bucket.rate
        window_s = max(1, math.ceil(rate.burst / rate.per_second))
        left, full_s = max(0, math.floor(bucket.level(now))), math.ceil(bucket.full_s(now))
        return (
            ("ratelimit-policy", f'"default";q={rate.burst};w={window_s}'),
            ("ratelimit", f'"default";r={left};t={full_s}'),
        )

    def lane(self, caller: str, asked: Priority.Type.ValueType, recipients: int) -> Priority.Type.ValueType:
        """The lane on which this travels: the one that was asked for, or the first below it of which the caller
        has not had its share."""
        given = asked
        while (share := self._shares.get(given)) is not None:
            bucket = self._bucket(subjects.LANES[given], caller, share)
            if bucket is None or bucket.take(recipients, self._clock()):
                break
            given = _BELOW[given]
        if given != asked:
            self._demoted[asked, given].inc()
        return given

    async def run(self, stopping: asyncio.Event) -> None:
        """Shares the buckets with the other processes until `stopping` is set."""
        while not stopping.is_set():
            try:
                async with asyncio.timeout(_PERIOD_S):
                    await stopping.wait()
            except TimeoutError:
                await self.share()

    async def share(self) -> None:
        """Tells what was let through here, and takes over what all processes did."""
        self._tidy()
        every = list(self._buckets.items())
        for start in range(0, len(every), _BUCKETS_A_CALL):
            await self._settle(dict(every[start : start + _BUCKETS_A_CALL]))

    async def _settle(self, buckets: Mapping[tuple[str, str], Bucket]) -> None:
        told = [bucket.spent for bucket in buckets.values()]
        keys = [f"crown:quota:{purpose}:{caller}" for purpose, caller in buckets]
        arguments: list[Any] = []
        for spent, bucket in zip(told, buckets.values(), strict=True):
            arguments += (spent, bucket.rate.per_second, bucket.rate.burst)
        try:
            levels = await self._breaker.call(lambda: self._script(keys, arguments))
        except Away:
            for bucket in buckets.values():
                bucket.keep(self._clock())
            return
        now = self._clock()
        for bucket, level, spent in zip(buckets.values(), levels, told, strict=True):
            bucket.settle(float(level), spent, now)

    def _tidy(self) -> None:
        now = self._clock()
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if not bucket.idle(now)}

    def _rate(self, caller: str) -> Rate | None:
        return self._rates.get(caller) or self._rates.get(EVERYBODY)

    def _bucket(self, purpose: str, caller: str, rate: Rate | None) -> Bucket | None:
        if rate is None:
            return None
        found = self._buckets.get((purpose, caller))
        if found is None:
            found = self._buckets[purpose, caller] = Bucket(rate, self._clock())
        return found
