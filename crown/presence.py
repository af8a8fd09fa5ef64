"""Who is connected, as Redis has it: realtime writes it, everybody may ask. It is a view of the moment and may be
lost with Redis; a node that lives writes its part again.

| key under `crown:presence:` | holds                                                                       |
| --------------------------- | --------------------------------------------------------------------------- |
| `nodes`                     | the realtime processes, each with the moment at which it counts as dead      |
| `user:<id>`                 | the open sockets of a person: `<node>/<socket>`                              |
| `topic:<topic>`             | who is on a topic: `<node>/<ref>` → key and meta, as JSON                    |
| `node:<node>`               | all that a node has written, so that others can take it out when it is dead  |
| `active:<id>`               | when a person last did something, in seconds since 1970; kept for 30 days    |
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from crown.errors import NotReady

_PREFIX = "crown:presence:"
NODES = f"{_PREFIX}nodes"
# People of a topic that are looked at; beyond, only their number is known.
LISTED_MOST = 500


class Entry(msgspec.Struct, frozen=True):
    """Somebody on a topic: the key is the person, the meta what a Phoenix client sees of the connection."""

    key: str
    meta: dict[str, object]


@dataclass(frozen=True, slots=True)
class Seen:
    """One person: open sockets, and when they last did something, as far as it is known."""

    sockets: int
    last_active_time: datetime | None

    @property
    def online(self) -> bool:
        """True while there is a socket."""
        return self.sockets > 0


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who is on a topic: sockets by person, of a topic with more than LISTED_MOST sockets empty; and how many
    sockets there are in all."""

    people: dict[str, int]
    sockets: int


def user_key(user_id: str) -> str:
    """Where the sockets of a person stand."""
    return f"{_PREFIX}user:{user_id}"


def topic_key(topic: str) -> str:
    """Where those who are on a topic stand."""
    return f"{_PREFIX}topic:{topic}"


def node_key(node: str) -> str:
    """Where all stands that a node has written."""
    return f"{_PREFIX}node:{node}"


def active_key(user_id: str) -> str:
    """Where it stands when a person last did something."""
    return f"{_PREFIX}active:{user_id}"


def node_of(field: str) -> str:
    """The node that wrote a field."""
    return field.partition("/")[0]


class Presence:
    """Reads. Sockets of nodes that are dead do not count."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def of_people(self, user_ids: Sequence[str]) -> list[Seen]:
        """Each of these people, in order, in one round trip. Raises NotReady."""
        async with answering():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zrangebyscore(NODES, time.time(), "+inf")
            for user_id in user_ids:
                pipe.hkeys(user_key(user_id))
                pipe.get(active_key(user_id))
            living, *found = await pipe.execute()
        alive = _texts(living)
        return [
            Seen(sum(node_of(field) in alive for field in _texts(fields)), _moment(active))
            for fields, active in zip(found[::2], found[1::2], strict=True)
        ]

    async def of_topic(self, topic: str) -> Crowd:
        """Who is on a topic. Raises NotReady."""
        async with answering():
            count = int(await self._redis.hlen(topic_key(topic)))  # type: ignore[misc]
            if count > LISTED_MOST:
                return Crowd({}, count)
            pipe = self._redis.pipeline(transaction=False)
            pipe.zrangebyscore(NODES, time.time(), "+inf")
            pipe.hgetall(topic_key(topic))
            living, found = await pipe.execute()
        entries = list(living_entries(found, _texts(living)))
        people = Counter(entry.key for entry in entries)
        return Crowd(dict(people), len(entries))


def living_entries(found: dict[bytes, bytes], living: Iterable[str]) -> Iterable[Entry]:
    """The entries of a topic whose node lives, in the order of their refs' tracking."""
    alive = set(living)
    for field, value in found.items():
        if node_of(field.decode()) in alive:
            yield msgspec.json.decode(value, type=Entry)


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Calls of Redis in this block: what it fails with becomes NotReady."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise NotReady(f"presence is away ({type(error).__name__}); try again") from error


def _texts(found: Iterable[bytes]) -> set[str]:
    return {one.decode() for one in found}


def _moment(seconds: bytes | None) -> datetime | None:
    return datetime.fromtimestamp(float(seconds), UTC) if seconds else None
