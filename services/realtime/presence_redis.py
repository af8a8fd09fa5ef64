"""Presence in Redis: see crown/presence.py for where things stand. Every node shows every few seconds that it lives,
and takes out what dead ones left. What this node has written it also knows itself: when Redis was away, or emptied,
or the others took this node for dead, it writes all of it again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from crown import logs, metrics
from crown.errors import CrownError, NotReady
from crown.gather import Gather
from crown.presence import (
    LISTED_MOST,
    NODES,
    Entry,
    active_key,
    answering,
    living_entries,
    node_key,
    topic_key,
    user_key,
)
from services.realtime.diffs import Diff, Diffs
from services.realtime.presence import COUNT, DIFF, STATE, Tell, described, grouped, new_ref

log = logs.get(__name__)

# Seconds after which a node that does not show itself counts as dead, and between two looks of each node at the
# others: who was connected to a node that is killed is gone after at most the sum.
TTL_S = 10.0
BEAT_S = 2.0
# Seconds that a call may take, and that nobody calls again after one that failed.
_CALL_S = 1.0
_PAUSE_S = 1.0
# Big topics: from the first bound on only a number is told, from the second on people again.
_BIG_FROM = LISTED_MOST
_BIG_UNTIL = 400
# Seconds between two numbers of a big topic.
COUNT_PERIOD_S = 2.0
_STATE_KEPT_S = 0.2
_ACTIVE_PERIOD_S = 30.0
_ACTIVE_KEPT_S = 30 * 86_400
_SLICE = 500
_REAP_LOCK_S = 10

# Shows that a node lives: 1 where the others still thought so, 0 where they do not, or do not know it.
_BEAT = """
local now = redis.call('TIME')[1]
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return before and tonumber(before) >= tonumber(now) and redis.call('EXISTS', KEYS[2]) or 0
"""
# One more socket of a person: how many there are on nodes that live.
_REGISTER = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
local now, count, living = tonumber(redis.call('TIME')[1]), 0, {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local node = string.match(field, '^[^/]*')
  if living[node] == nil then
    local ends = redis.call('ZSCORE', KEYS[3], node)
    living[node] = ends and tonumber(ends) >= now or node == ARGV[5]
  end
  if living[node] then count = count + 1 end
end
return count
"""


@dataclass(frozen=True, slots=True)
class _Mine:
    """An entry on a topic that this node wrote."""

    topic: str
    entry: Entry


class _Left(msgspec.Struct, frozen=True):
    """What the node's own list says of each thing that it wrote: a topic's entry, or a person's socket."""

    topic: str = ""
    user_id: str = ""
    entry: Entry | None = None


Write = Callable[[Any], Any]
Told = list[tuple[str, dict[str, Any]]]


def connect(url: str) -> Redis:
    """A client that gives a call up after a second, and tries nothing twice by itself."""
    return Redis.from_url(
        url,
        socket_timeout=_CALL_S,
        socket_connect_timeout=_CALL_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=5,
    )


class RedisPresence:
    """The part that the process `node` writes. `run` has to run beside; `tell` reaches everybody on a topic."""

    def __init__(
        self,
        redis: Redis,
        node: str,
        tell: Tell,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._redis = redis
        self._node = node
        self._tell = tell
        self._mine: dict[str, _Mine] = {}
        self._sockets: dict[str, str] = {}
        self._acted: dict[str, float] = {}
        # Big topics, with the moment at which their number was told last; and those whose number is due.
        self._big: dict[str, float] = {}
        self._counting: set[str] = set()
        self._states: dict[str, tuple[float, Told]] = {}
        self._diffs = Diffs(self._send_diff, spawn)
        self._spawn = spawn
        # False where Redis lacks something that is this node's.
        self._whole = True
        self._gone = False
        self._resting_until = 0.0
        # Many who come at once cost one round trip.
        self._write: Gather[Write, Any] = Gather(self._write_all, most=_SLICE)

    # -- topics

    async def track(self, topic: str, key: str, meta: dict[str, Any]) -> str:
        """See Presence."""
        return await self._enter(topic, key, meta, "")

    async def update(self, topic: str, ref: str, meta: dict[str, Any]) -> str:
        """See Presence."""
        before = self._mine.get(ref)
        if before is None:
            return ref
        await self.untrack(topic, ref)
        return await self._enter(topic, before.entry.key, meta, ref)

    async def untrack(self, topic: str, ref: str) -> None:
        """See Presence."""
        mine = self._mine.pop(ref, None)
        if mine is None:
            return
        metrics.PRESENT.set(len(self._mine))
        self._diffs.leaves(topic, mine.entry.key, mine.entry.meta)

        def write(pipe: Any) -> None:
            pipe.hdel(topic_key(topic), self._field(ref))
            pipe.hdel(node_key(self._node), ref)

        await self._try(write)

    async def state(self, topic: str) -> Told:
        """See Presence."""
        kept = self._states.get(topic)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        try:
            found = await self._read_state(topic)
        except NotReady:
            found = [(STATE, dict(grouped(self._own(topic))))]
        if len(self._states) > _SLICE:
            self._states.clear()
        self._states[topic] = time.monotonic() + _STATE_KEPT_S, found
        return found

    # -- people

    async def register(self, user_id: str, socket_id: str) -> int:
        """See Presence."""
        self._sockets[socket_id] = user_id
        self._note(user_id)
        left = msgspec.json.encode(_Left(user_id=user_id)).decode()
        keys = [user_key(user_id), node_key(self._node), NODES]
        arguments = [self._field(socket_id), int(time.time()), socket_id, left, self._node]
        # The whole script each time: asking first whether the server knows it would be a round trip more.
        found = await self._try(lambda pipe: pipe.eval(_REGISTER, len(keys), *keys, *arguments))
        return int(found) if isinstance(found, int) else self._own_sockets(user_id)

    async def unregister(self, user_id: str, socket_id: str) -> None:
        """See Presence."""
        if self._sockets.pop(socket_id, None) is None:
            return
        self._acted.pop(user_id, None)

        def write(pipe: Any) -> None:
            pipe.hdel(user_key(user_id), self._field(socket_id))
            pipe.hdel(node_key(self._node), socket_id)
            pipe.set(active_key(user_id), int(time.time()), ex=_ACTIVE_KEPT_S)

        await self._try(write)

    def active(self, user_id: str) -> None:
        """See Presence."""
        if time.monotonic() - self._acted.get(user_id, float("-inf")) >= _ACTIVE_PERIOD_S:
            self._note(user_id)

    # -- the life of the node

    async def run(self) -> None:
        """Shows that the node lives, and looks after the others, until it is cancelled."""
        while True:
            try:
                await self.beat()
                for node in await self._dead():
                    await self._take_out(node)
            except NotReady as error:
                log.warning("presence_away", why=error.message)
                self._whole = False
            await asyncio.sleep(BEAT_S)

    async def beat(self) -> None:
        """Shows once that the node lives; writes all that is its own where the others do not have it. Raises
        NotReady."""
        if self._gone:
            return
        async with answering():
            known = await self._redis.eval(  # type: ignore[misc]
                _BEAT, 2, NODES, node_key(self._node), self._node, int(TTL_S)
            )
        if known and self._whole:
            return
        if self._mine or self._sockets:
            await self._write_again()
        self._whole = True

    async def close(self) -> None:
        """The node goes: nothing of it stays behind, and nothing is written any more."""
        self._gone = True
        self._diffs.flush()
        try:
            await self._take_out(self._node)
        except NotReady as error:
            log.warning("presence_left_behind", why=error.message)

    # -- reading

    async def _read_state(self, topic: str) -> Told:
        self._must_not_rest()
        async with answering():
            count = int(await self._redis.hlen(topic_key(topic)))  # type: ignore[misc]
            if self._judge(topic, count):
                return [(STATE, {}), (COUNT, {"count": count})]
            pipe = self._redis.pipeline(transaction=False)
            pipe.zrangebyscore(NODES, time.time(), "+inf")
            pipe.hgetall(topic_key(topic))
            living, found = await pipe.execute()
        alive = {one.decode() for one in living} | {self._node}
        entries = [(entry.key, entry.meta) for entry in living_entries(found, alive)]
        return [(STATE, dict(grouped(entries)))]

    def _own(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        return [(mine.entry.key, mine.entry.meta) for mine in self._mine.values() if mine.topic == topic]

    def _own_sockets(self, user_id: str) -> int:
        return sum(owner == user_id for owner in self._sockets.values())

    # -- writing

    def _field(self, name: str) -> str:
        return f"{self._node}/{name}"

    async def _enter(self, topic: str, key: str, meta: dict[str, Any], before: str) -> str:
        ref = new_ref()
        entry = Entry(key, described(meta, ref, before))
        mine = self._mine[ref] = _Mine(topic, entry)
        metrics.PRESENT.set(len(self._mine))
        await self._try(lambda pipe: self._put(pipe, ref, mine))
        self._diffs.joins(topic, key, entry.meta)
        return ref

    def _put(self, pipe: Any, ref: str, mine: _Mine) -> None:
        pipe.hset(topic_key(mine.topic), self._field(ref), msgspec.json.encode(mine.entry))
        pipe.hset(node_key(self._node), ref, msgspec.json.encode(_Left(mine.topic, entry=mine.entry)))

    def _note(self, user_id: str) -> None:
        self._acted[user_id] = time.monotonic()
        now = int(time.time())
        self._spawn(self._noted(lambda pipe: pipe.set(active_key(user_id), now, ex=_ACTIVE_KEPT_S)))

    async def _noted(self, write: Write) -> None:
        await self._try(write)

    async def _try(self, write: Write) -> Any:
        """Does it, or remembers that something is missing."""
        try:
            self._must_not_rest()
            return await self._write(write)
        except NotReady:
            self._whole = False
            return None

    async def _write_all(self, writes: list[Write]) -> list[Any]:
        """All of them in one round trip; of each the first answer."""
        pipe = self._redis.pipeline(transaction=False)
        firsts = []
        for write in writes:
            firsts.append(len(pipe.command_stack))
            write(pipe)
        try:
            async with answering():
                found = await pipe.execute()
        except NotReady:
            metrics.PRESENCE_FAILED.inc()
            self._resting_until = time.monotonic() + _PAUSE_S
            raise
        return [found[first] for first in firsts]

    def _must_not_rest(self) -> None:
        if time.monotonic() < self._resting_until:
            raise NotReady("presence was away just now")

    async def _write_again(self) -> None:
        log.info("presence_written_again", entries=len(self._mine), sockets=len(self._sockets))
        for part in _slices(self._mine.items()):
            await self._write(lambda pipe, part=part: [self._put(pipe, ref, mine) for ref, mine in part])  # type: ignore[misc]
        for part in _slices(self._sockets.items()):
            await self._write(lambda pipe, part=part: [self._put_socket(pipe, *one) for one in part])  # type: ignore[misc]
        # The others may have told that they are gone.
        for mine in list(self._mine.values()):
            self._diffs.joins(mine.topic, mine.entry.key, mine.entry.meta)

    def _put_socket(self, pipe: Any, socket_id: str, user_id: str) -> None:
        pipe.hset(user_key(user_id), self._field(socket_id), int(time.time()))
        pipe.hset(node_key(self._node), socket_id, msgspec.json.encode(_Left(user_id=user_id)))

    # -- the dead

    async def _dead(self) -> list[str]:
        """Nodes that are dead and have not been taken out, each for one of those that live."""
        async with answering():
            moment = (await self._redis.time())[0]
            late = await self._redis.zrangebyscore(NODES, "-inf", f"({moment}")
            found = []
            for one in late:
                node = one.decode()
                lock = f"{node_key(node)}:reaper"
                if node != self._node and await self._redis.set(lock, self._node, nx=True, ex=_REAP_LOCK_S):
                    found.append(node)
            return found

    async def _take_out(self, node: str) -> None:
        """Takes out all that `node` has written, and tells the topics who is gone. Raises NotReady."""
        key = node_key(node)
        async with answering():
            gone: list[_Mine] = []
            cursor: int | None = None
            while cursor != 0:
                cursor, found = await self._redis.hscan(key, cursor or 0, count=_SLICE)  # type: ignore[misc]
                pipe = self._redis.pipeline(transaction=False)
                for ref, value in found.items():
                    gone.extend(_take_one(pipe, node, ref.decode(), msgspec.json.decode(value, type=_Left)))
                await pipe.execute()
            pipe = self._redis.pipeline(transaction=False)
            pipe.delete(key)
            pipe.zrem(NODES, node)
            await pipe.execute()
        if node != self._node:
            log.info("presence_taken_out", node=node, entries=len(gone))
        for mine in gone:
            self._diffs.leaves(mine.topic, mine.entry.key, mine.entry.meta)

    # -- what others are told

    async def _send_diff(self, topic: str, diff: Diff) -> None:
        self._states.pop(topic, None)
        try:
            for event, payload in await self._news(topic, diff):
                await self._tell(topic, event, payload)
        except CrownError as error:
            # Who is here is told whole after the bus was away.
            log.warning("presence_untold", reason=error.reason)

    async def _news(self, topic: str, diff: Diff) -> Told:
        """What everybody on the topic is to hear of a change."""
        was_big = topic in self._big
        try:
            self._must_not_rest()
            async with answering():
                count = int(await self._redis.hlen(topic_key(topic)))  # type: ignore[misc]
        except NotReady:
            return [] if was_big else [(DIFF, diff.payload())]
        if not self._judge(topic, count):
            return await self.state(topic) if was_big else [(DIFF, diff.payload())]
        told: Told = [(COUNT, {"count": count})] if self._may_count(topic) else []
        # From here on nobody keeps a list of it any more.
        return told if was_big else [(STATE, {}), *told]

    def _judge(self, topic: str, count: int) -> bool:
        """Whether the topic is big."""
        if topic in self._big:
            if count < _BIG_UNTIL:
                del self._big[topic]
        elif count > _BIG_FROM:
            self._big[topic] = float("-inf")
        return topic in self._big

    def _may_count(self, topic: str) -> bool:
        """Whether the number of a big topic is to be told now; if not, it is when its time comes."""
        now, last = time.monotonic(), self._big[topic]
        if now - last >= COUNT_PERIOD_S:
            self._big[topic] = now
            return True
        if topic not in self._counting:
            self._counting.add(topic)
            asyncio.get_running_loop().call_later(last + COUNT_PERIOD_S - now, self._count_again, topic)
        return False

    def _count_again(self, topic: str) -> None:
        self._counting.discard(topic)
        if topic in self._big:
            self._spawn(self._send_diff(topic, Diff()))


def _take_one(pipe: Any, node: str, ref: str, left: _Left) -> Iterable[_Mine]:
    if left.entry is None:
        pipe.hdel(user_key(left.user_id), f"{node}/{ref}")
        return ()
    pipe.hdel(topic_key(left.topic), f"{node}/{ref}")
    return (_Mine(left.topic, left.entry),)


def _slices(items: Iterable[tuple[str, Any]]) -> Iterable[list[tuple[str, Any]]]:
    rest = iter(list(items))
    while part := list(islice(rest, _SLICE)):
        yield part
