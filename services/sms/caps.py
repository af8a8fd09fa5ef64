"""Caps on what is spent, counted in segments. Each text is reserved before the provider is called, in all caps at
once, and nothing is given back: a text that then fails has counted. The same attempt, asked for again, counts
once. Texts that are on their way together ask Redis together.

| cap     | counts                                          | reached                    |
| ------- | ----------------------------------------------- | -------------------------- |
| number  | one number, an hour                             | the text is refused        |
| prefix  | numbers that differ in the last four, an hour   | the text is refused        |
| country | one country, an hour                            | it waits for the next hour |
| day     | everything, a day of UTC                        | it waits for the next day  |
| caller  | what one caller sends, a day of UTC             | it waits for the next day  |

A caller may use a share of the day, so that the campaign of one leaves room for the others; and a reserve of day and
country is for what is urgent, so that login codes go out also when the rest is used up.

Who is paid by the text has it sent to numbers in a row: what the first two catch is not to be sent later either.
All fail closed. While Redis is away each process goes on with a twentieth of each cap, and then lets texts wait.
What it has counted itself holds even where Redis has forgotten it. Keys hold hashes and no numbers."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from redis.asyncio import Redis

from crown import metrics
from crown.breaker import Away, Breaker
from crown.clock import Clock, now
from crown.gather import Gather
from crown.vault import Key

CAPS = ("number", "prefix", "country", "day", "caller")
# Those of which a reserve is for what is urgent.
_RESERVED = {"country", "day"}
_WAITS = {"country", "day", "caller"}
_CALLER = CAPS.index("caller")
# Of its share, in percent, from which on it is told that a caller is near its end.
NEAR_PERCENT = 80
# Redis is away, and what goes without it is spent.
UNCOUNTED = "uncounted"
# Processes that may go on without Redis at once, before a cap could be passed by more than itself.
_SHARES = 20
_AWAY_WAIT = timedelta(seconds=60)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_LIMIT_S = 0.5
_PREFIX_WITHOUT = 4

# KEYS: the attempt's, then one for each cap. ARGV: segments, ms for which the attempt is known; then for each cap
# what it allows and the ms that its window is kept. Answers the number of the first cap that is reached, or 0, and
# what is spent of each cap now; nothing of that where it was known.
_RESERVE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
for n = 2, #KEYS do
  local spent = tonumber(redis.call('GET', KEYS[n]) or 0)
  if spent + ARGV[1] > tonumber(ARGV[2 * n - 1]) then return {n - 1} end
end
local answer = {0}
for n = 2, #KEYS do
  answer[n] = redis.call('INCRBY', KEYS[n], ARGV[1])
  redis.call('PEXPIRE', KEYS[n], ARGV[2 * n])
end
redis.call('SET', KEYS[1], 1, 'PX', ARGV[2])
return answer
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most segments of each cap; what one caller may use of the day, and what of day and country only urgent texts
    may, in percent."""

    number: int
    prefix: int
    country: int
    day: int
    caller_percent: int
    reserve_percent: int

    def of(self, urgent: bool) -> Sequence[int]:
        """What each of CAPS allows."""
        caller = self.day * self.caller_percent // 100
        most = (self.number, self.prefix, self.country, self.day, caller)
        open_percent = 100 if urgent else 100 - self.reserve_percent
        return [
            limit * open_percent // 100 if cap in _RESERVED else limit
            for cap, limit in zip(CAPS, most, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Expense:
    """What a text costs, where it goes, and who has it sent. `attempt` names it: it is paid once."""

    attempt: str
    number: str
    country: str
    segments: int
    caller: str
    urgent: bool


@dataclass(frozen=True, slots=True)
class Reached:
    """The cap that a text would pass; `until` is when there is room again, None where the text is refused."""

    cap: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class _Question:
    """What the script is called with."""

    keys: tuple[str, ...]
    arguments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    """The cap that is reached, and what its caller has spent of the day, as far as that is known."""

    cap: int | None
    spent: int = 0


class Caps:
    """The caps of the suite, over all its processes."""

    def __init__(self, redis: Redis, limits: Limits, data_key: Key, clock: Clock = now) -> None:
        self._limits = limits
        self._key = hmac.digest(data_key.raw, b"sms caps", "sha256")
        self._clock = clock
        self._breaker = Breaker(_LIMIT_S)
        self._redis = redis
        self._script = redis.register_script(_RESERVE)
        self._ask: Gather[_Question, _Answer] = Gather(self._ask_many, parallel=1)
        self._counted = _Tally()
        self._uncounted = _Tally()

    async def reserve(self, expense: Expense) -> Reached | None:
        """Takes the segments of `expense` out of every cap; the cap that has not so many left, None where all have,
        or it was paid already. Waits half a second at most."""
        moment, segments, limits = self._clock(), expense.segments, self._limits.of(expense.urgent)
        ends = (_next(moment, _HOUR),) * 3 + (_next(moment, _DAY),) * 2
        names = self._names(expense, ends)
        asked = f"crown:sms:attempt:{expense.attempt}"
        if (cap := self._counted.reached(names, limits, asked, segments)) is None:
            arguments = _arguments(limits, ends, moment, segments)
            try:
                answer = await self._ask(_Question((asked, *names), arguments))
                cap = answer.cap
                if answer.spent * 100 > limits[_CALLER] * NEAR_PERCENT:
                    metrics.TEXTS_NEAR_SHARE.labels(expense.caller).inc()
            except Away:
                shares = [limit // _SHARES for limit in limits]
                if self._uncounted.reached(names, shares, asked, segments) is not None:
                    return Reached(UNCOUNTED, moment + _AWAY_WAIT)
                self._uncounted.add(names, asked, segments)
        if cap is None:
            self._counted.add(names, asked, segments)
            return None
        return Reached(CAPS[cap], ends[cap] if CAPS[cap] in _WAITS else None)

    async def _ask_many(self, questions: list[_Question]) -> list[_Answer]:
        """What becomes of each, in one round trip. Raises Away."""
        return await self._breaker.call(lambda: self._pipelined(questions))

    async def _pipelined(self, questions: list[_Question]) -> list[_Answer]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for question in questions:
                await self._script(keys=question.keys, args=question.arguments, client=pipe)
            return [_answer([int(each) for each in found]) for found in await pipe.execute()]

    def _names(self, expense: Expense, ends: Sequence[datetime]) -> list[str]:
        """The key of each cap in its window."""
        counted = (
            self._hash(expense.number),
            self._hash(expense.number[:-_PREFIX_WITHOUT]),
            expense.country or "none",
            "all",
            self._hash(expense.caller),
        )
        return [
            f"crown:sms:cap:{cap}:{each}:{end:%Y%m%d%H}"
            for cap, each, end in zip(CAPS, counted, ends, strict=True)
        ]

    def _hash(self, value: str) -> str:
        return hmac.digest(self._key, value.encode(), "sha256").hex()[:24]


class _Tally:
    """What this process has counted in the windows that are open."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._attempts: set[str] = set()
        self._windows: set[str] = set()

    def reached(self, names: Sequence[str], limits: Sequence[int], attempt: str, segments: int) -> int | None:
        """The first of `names` that has not `segments` left; None for an attempt that has them."""
        if attempt in self._attempts:
            return None
        for place, (name, limit) in enumerate(zip(names, limits, strict=True)):
            if self._spent.get(name, 0) + segments > limit:
                return place
        return None

    def add(self, names: Sequence[str], attempt: str, segments: int) -> None:
        """Counts an attempt, once."""
        self._forget(names)
        if attempt in self._attempts:
            return
        self._attempts.add(attempt)
        for name in names:
            self._spent[name] = self._spent.get(name, 0) + segments

    def _forget(self, names: Sequence[str]) -> None:
        """Drops what is of other windows than `names`."""
        windows = {name.rpartition(":")[2] for name in names}
        if windows != self._windows:
            self._windows = windows
            self._attempts.clear()
            self._spent = {
                name: count for name, count in self._spent.items() if name.rpartition(":")[2] in windows
            }


def _arguments(
    limits: Sequence[int], ends: Sequence[datetime], moment: datetime, segments: int
) -> tuple[int, ...]:
    arguments: list[int] = [segments, int(_DAY.total_seconds() * 1_000)]
    for limit, end in zip(limits, ends, strict=True):
        # Longer than its window: clocks of processes differ.
        arguments += [limit, int((end - moment + _HOUR).total_seconds() * 1_000)]
    return tuple(arguments)


def _answer(told: list[int]) -> _Answer:
    reached, *spent = told
    if reached:
        return _Answer(reached - 1)
    return _Answer(None, spent[_CALLER]) if spent else _Answer(None)


def _next(moment: datetime, window: timedelta) -> datetime:
    """When the window of UTC that `moment` is in ends."""
    start = moment.replace(minute=0, second=0, microsecond=0)
    return start + window if window == _HOUR else start.replace(hour=0) + window
