"""Who is connected, as anybody may ask. The realtime nodes write it, see services/realtime/presence; here stand the
names of its keys, and the reading.

| key                          | holds                                                                        |
| ---------------------------- | ---------------------------------------------------------------------------- |
| crown:presence:nodes         | sorted set: names of nodes, by the millisecond until which each lives        |
| crown:presence:dead          | sorted set: dead ones, by the millisecond until which somebody clears them   |
| crown:presence:crowded       | set: topics with too many for names                                          |
| crown:presence:counted:<t>   | there while the number of a crowded topic was told a moment ago              |
| crown:presence:topic:<t>     | hash: <node>:<phx_ref> of each channel on topic t, and its record            |
| crown:presence:people:<t>    | hash: each key on topic t, and how many channels it has there                |
| crown:presence:user:<id>     | hash: <node>:<socket id> of each open socket of a person                     |
| crown:presence:active:<id>   | the second at which a person was last active; kept for 30 days               |
| crown:presence:tracks:<node> | set: <phx_ref><topic> of each channel of a node                              |
| crown:presence:sockets:<node>| set: <socket id> <user id> of each socket of a node                          |
| crown:presence:order:<node>  | hash: numbers of the last calls by which a node wrote channels and sockets   |

Names of nodes and phx_refs are URL-safe base64; what callers choose stands last, so that no two keys meet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from crown.breaker import Away, Breaker
from crown.errors import NotReady

_LIMIT_S = 1.0
# Fields that a script reads of one hash; where there are more, it counts those of dead nodes too.
FIELDS_MOST = 1_000

# What every script knows: the keys, the present in milliseconds by Redis' own clock, and who lives.
PRELUDE = """
local NODES, DEAD, CROWDED = 'crown:presence:nodes', 'crown:presence:dead', 'crown:presence:crowded'
local COUNTED, TOPIC, PEOPLE = 'crown:presence:counted:', 'crown:presence:topic:', 'crown:presence:people:'
local USER, ACTIVE = 'crown:presence:user:', 'crown:presence:active:'
local TRACKS, SOCKETS = 'crown:presence:tracks:', 'crown:presence:sockets:'
local ORDER = 'crown:presence:order:'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function living()
  local found = {}
  for _, name in ipairs(redis.call('ZRANGE', NODES, '(' .. now, '+inf', 'BYSCORE')) do found[name] = true end
  return found
end
local function node_of(field) return string.sub(field, 1, string.find(field, ':', 1, true) - 1) end
local function sockets_of(user, alive)
  local key = USER .. user
  local count = redis.call('HLEN', key)
  if count == 0 or count > %d then return count end
  count = 0
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if alive[node_of(field)] then count = count + 1 end
  end
  return count
end
""".replace("%d", str(FIELDS_MOST))

# ARGV: user ids. Answers for each the number of sockets, and when it was last active.
_PEOPLE = """
local alive, found = living(), {}
for _, user in ipairs(ARGV) do
  found[#found + 1] = sockets_of(user, alive)
  found[#found + 1] = redis.call('GET', ACTIVE .. user)
end
return found
"""

# ARGV: a topic, the most people. Answers the records of living nodes; or the number of people, and some of
# them with the number of their channels.
_ON_TOPIC = """
local topic, most, found = ARGV[1], ARGV[2], {}
if redis.call('HLEN', TOPIC .. topic) > %d then
  local some = redis.call('HSCAN', PEOPLE .. topic, 0, 'COUNT', most)[2]
  return {redis.call('HLEN', PEOPLE .. topic), some}
end
local alive, fields = living(), redis.call('HGETALL', TOPIC .. topic)
for i = 1, #fields, 2 do
  if alive[node_of(fields[i])] then found[#found + 1] = fields[i + 1] end
end
return {-1, found}
""".replace("%d", str(FIELDS_MOST))


def connect(url: str, connections: int = 8) -> Redis:
    """A client that shares `connections` and waits for one where all are in use; close it with `aclose`."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=_LIMIT_S,
        socket_connect_timeout=_LIMIT_S,
        # With a limit of its own the client sends through `asyncio.wait_for`, which in Python 3.11 loses a
        # cancellation that comes as it ends, and with it a time limit or the stop of a task. Breaker has one.
        socket_timeout=None,
    )
    return Redis.from_pool(pool)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a person: how many open sockets, of a topic those that are on it; and when they were
    last active, None where that is not known."""

    sockets: int
    last_active_time: datetime | None

    @property
    def online(self) -> bool:
        """Whether there is an open socket."""
        return self.sockets > 0


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who is on a topic: some of them, longest there first, and how many there are."""

    people: dict[str, Seen]
    count: int


class _Record(msgspec.Struct, frozen=True, gc=False):
    key: str
    at: int


_RECORD = msgspec.json.Decoder(_Record)


class Presence:
    """Asks who is connected. Everything raises NotReady where Redis does not answer within a second, and at
    once for a second after that."""

    def __init__(self, redis: Redis) -> None:
        self._breaker = Breaker(_LIMIT_S)
        self._redis = redis
        self._people = redis.register_script(PRELUDE + _PEOPLE)
        self._on_topic = redis.register_script(PRELUDE + _ON_TOPIC)

    async def of_people(self, user_ids: Collection[str]) -> dict[str, Seen]:
        """What is known of each of them, in their order; one round trip."""
        asked = list(dict.fromkeys(user_ids))
        if not asked:
            return {}
        found = await self._ask(lambda: self._people(args=asked))
        pairs = zip(found[::2], found[1::2], strict=True)
        return {
            user_id: Seen(sockets, _moment(active))
            for user_id, (sockets, active) in zip(asked, pairs, strict=True)
        }

    async def of_topic(self, topic: str, most: int = 500) -> Crowd:
        """Up to `most` people on `topic`. On topics with more than a thousand channels these are any, and those
        of a node that died within the last seconds count."""
        count, found = await self._ask(lambda: self._on_topic(args=[topic, most]))
        if count < 0:
            sockets = _counted(found)
            count = len(sockets)
        else:
            sockets = {key.decode(): int(each) for key, each in zip(found[::2], found[1::2], strict=True)}
        shown = dict(list(sockets.items())[:most])
        if not shown:
            return Crowd({}, count)
        keys = [f"crown:presence:active:{key}" for key in shown]
        active = await self._ask(lambda: self._redis.mget(keys))
        times = map(_moment, active)
        return Crowd({key: Seen(shown[key], time) for key, time in zip(shown, times, strict=True)}, count)

    async def _ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._breaker.call(work)
        except Away as error:
            raise NotReady("presence is away; try again") from error


async def forget(redis: Redis, user_id: str) -> None:
    """Forgets when a person was last active. Their open sockets leave by themselves. Raises RedisError."""
    await redis.delete(f"crown:presence:active:{user_id}")


async def last_active(redis: Redis, user_id: str) -> datetime | None:
    """When a person was last active; None where that is not known. Raises NotReady."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            found: Any = await redis.get(f"crown:presence:active:{user_id}")
    except (RedisError, OSError, TimeoutError) as error:
        raise NotReady("presence is away; try again") from error
    return _moment(found)


def _counted(records: Iterable[bytes]) -> dict[str, int]:
    """How many channels each key has, in the order in which they came."""
    found: dict[str, int] = {}
    for record in sorted(map(_RECORD.decode, records), key=lambda record: record.at):
        found[record.key] = found.get(record.key, 0) + 1
    return found


def _moment(seconds: bytes | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC)
