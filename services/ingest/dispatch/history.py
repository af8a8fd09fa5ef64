"""What people got lately, as a filter hears of it. Redis remembers for a day when something went to a person, with a
few bytes of the hash of what it said; how much they read is looked up in the ledger, and remembered for some hours.
All of this may be lost: then people count as having got nothing. An order that comes again counts again, and two
dispatchers do not see what the other is sending at this moment: what follows from it must be about amounts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from struct import Struct
from typing import Any

from pymongo.errors import PyMongoError
from redis.asyncio import Redis

from crown.breaker import Away, Breaker
from crown.notification.v1.filter_service_pb2 import FilterHistory
from crown.notification.v1.types_pb2 import Category, DeliveryState
from crown.store import Database, Document

_LIMIT_S = 0.25
_HOUR_S = 3_600
_DAY_S = 86_400
# Of each person.
_SENDS_MOST = 100
# A thing sent: the second, and the beginning of its content's hash.
_SEND = Struct("<I4s")
# For each category, by its number: how many were shown, and how many of these were read.
_READS = Struct(f"<{2 * len(Category.Type.values())}B")
_NO_READS = (0,) * (2 * len(Category.Type.values()))
_READS_KEPT_S = 6 * _HOUR_S
_LOOKED_AT = 20
# People whose reading is looked up in one turn; the others' turn comes with what they get next.
_LOOK_UPS_MOST = 200
_LOOK_UP_LIMIT_MS = 200
# The age at which something had its chance of being read.
_CHANCE = timedelta(hours=1)


@dataclass(slots=True)
class Past:
    """What is known of one person."""

    # Second and mark of each thing that was sent, the oldest first.
    sends: list[tuple[int, bytes]] = field(default_factory=list)
    # Shown and read, by category.
    reads: Sequence[int] = _NO_READS

    def facts(
        self, category: Category.Type.ValueType, content_hash: bytes, present: datetime
    ) -> FilterHistory:
        """As a filter hears it."""
        second = int(present.timestamp())
        day = [(time, mark) for time, mark in self.sends[-_SENDS_MOST:] if time > second - _DAY_S]
        return FilterHistory(
            sent_last_hour=sum(time > second - _HOUR_S for time, _ in day),
            sent_last_day=len(day),
            same_last_day=sum(mark == content_hash[:4] for _, mark in day),
            shown_lately=self.reads[2 * category],
            read_lately=self.reads[2 * category + 1],
        )

    def add(self, content_hash: bytes, present: datetime) -> None:
        """Notes that something is about to go to them."""
        self.sends.append((int(present.timestamp()), content_hash[:4]))


class History:
    """What people got lately. Never fails: what it cannot learn it does not know."""

    def __init__(self, redis: Redis, db: Database) -> None:
        self._redis = redis
        self._people = db.people
        self._breaker = Breaker(_LIMIT_S)

    async def load(self, user_ids: Sequence[str], present: datetime) -> dict[str, Past]:
        """What is known of each of them."""
        keys = [*map(_sends_key, user_ids), *map(_reads_key, user_ids)]
        try:
            found: Sequence[Any] = await self._breaker.call(lambda: self._redis.mget(keys))
        except Away:
            return {user_id: Past() for user_id in user_ids}
        sends, reads = found[: len(user_ids)], found[len(user_ids) :]
        known = {user_id: raw for user_id, raw in zip(user_ids, reads, strict=True) if raw}
        new = await self._look_up([one for one in user_ids if one not in known][:_LOOK_UPS_MOST], present)
        await self._keep(new)
        known.update(new)
        return {
            user_id: Past(_sends(raw or b""), _reads(known.get(user_id)))
            for user_id, raw in zip(user_ids, sends, strict=True)
        }

    async def note(
        self, pasts: Mapping[str, Past], sent: Iterable[tuple[str, bytes]], present: datetime
    ) -> None:
        """Remembers what went to whom: person, and the hash of its content."""
        more: dict[str, bytes] = defaultdict(bytes)
        second = int(present.timestamp())
        for user_id, content_hash in sent:
            more[user_id] += _SEND.pack(second, content_hash[:4])
        pipeline = self._redis.pipeline(transaction=False)
        for user_id, raw in more.items():
            key = _sends_key(user_id)
            # Appending loses nothing that somebody else adds; cutting may, and is rare.
            if len(pasts[user_id].sends) > 2 * _SENDS_MOST:
                kept = b"".join(_SEND.pack(*one) for one in pasts[user_id].sends[-_SENDS_MOST:])
                pipeline.set(key, kept, ex=_DAY_S)
            else:
                pipeline.append(key, raw)
                pipeline.expire(key, _DAY_S)
        if more:
            await self._try(pipeline.execute)

    async def _keep(self, reads: Mapping[str, bytes]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for user_id, raw in reads.items():
            pipeline.set(_reads_key(user_id), raw, ex=_READS_KEPT_S)
        if reads:
            await self._try(pipeline.execute)

    async def _try(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await self._breaker.call(work)
        except Away:
            return

    async def _look_up(self, user_ids: Sequence[str], present: datetime) -> dict[str, bytes]:
        """How much each read of the last that they were shown: some documents of each, found by an index."""
        if not user_ids:
            return {}
        latest: list[Document] = [
            {"$match": {"create_time": {"$lt": present - _CHANCE}}},
            {"$sort": {"create_time": -1, "_id": -1}},
            {"$limit": _LOOKED_AT},
            {"$project": {"category": 1, "read_time": 1, "deliveries": 1}},
        ]
        steps: list[Document] = [
            {"$match": {"_id": {"$in": list(user_ids)}}},
            {"$project": {"_id": 1}},
            {
                "$lookup": {
                    "from": "ledger",
                    "localField": "_id",
                    "foreignField": "user_id",
                    "pipeline": latest,
                    "as": "rows",
                }
            },
        ]
        try:
            cursor = await self._people.aggregate(steps, maxTimeMS=_LOOK_UP_LIMIT_MS)
            found = {person["_id"]: _counted(person["rows"]) async for person in cursor}
        except PyMongoError:
            return {}
        # Who is new has read nothing of nothing.
        return {user_id: found.get(user_id, _READS.pack(*_NO_READS)) for user_id in user_ids}


async def forget(redis: Redis, user_id: str) -> None:
    """Forgets what a person got and read. Raises RedisError."""
    await redis.delete(_sends_key(user_id), _reads_key(user_id))


def _counted(rows: Iterable[Document]) -> bytes:
    counts = list(_NO_READS)
    for row in rows:
        states = {delivery["state"] for delivery in row["deliveries"].values()}
        if states <= {DeliveryState.SUPPRESSED, DeliveryState.EXPIRED, DeliveryState.CANCELLED}:
            continue
        counts[2 * row["category"]] += 1
        counts[2 * row["category"] + 1] += bool(row.get("read_time")) or DeliveryState.READ in states
    return _READS.pack(*counts)


def _sends(raw: bytes) -> list[tuple[int, bytes]]:
    whole = len(raw) - len(raw) % _SEND.size
    return list(_SEND.iter_unpack(raw[:whole]))


def _reads(raw: bytes | None) -> Sequence[int]:
    # Another length is another version's.
    return _READS.unpack(raw) if raw is not None and len(raw) == _READS.size else _NO_READS


def _sends_key(user_id: str) -> str:
    return f"crown:filter:sends:{user_id}"


def _reads_key(user_id: str) -> str:
    return f"crown:filter:reads:{user_id}"
