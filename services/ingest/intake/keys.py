"""What each idempotency key stood for, so that the same key with another body is refused. Redis knows the last
day, the store everything that was dispatched; while both are away the first body wins and nobody is refused,
since accepting depends on the bus alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from pymongo.errors import PyMongoError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from crown import logs
from crown.gather import Gather
from crown.store import Database

log = logs.get(__name__)

_KEPT_S = 86_400
_LIMIT_S = 0.25
# After a failure the source is left alone for this long, so that each request does not wait for it.
_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Use:
    """A key in use: the notification that it stands for, and the hash of the body, also as it was written before."""

    notification_id: str
    request_hash: bytes
    former_hash: bytes = b""


class Seen(Enum):
    """What a key stood for before."""

    NOTHING = "nothing"
    THIS = "this body"
    ANOTHER = "another body"


class KeyBook:
    """Asks what keys stood for before."""

    def __init__(self, redis: Redis, db: Database) -> None:
        self._redis = redis
        self._notifications = db.notifications
        self._paused: dict[str, float] = {}
        self.seen: Gather[Use, Seen] = Gather(self._seen)

    async def _seen(self, uses: list[Use]) -> list[Seen]:
        cached = await self._from_redis(uses)
        unknown = {use.notification_id for use, found in zip(uses, cached, strict=True) if found is None}
        stored = await self._from_store(list(unknown)) if unknown else {}
        if stored:
            # Redis had forgotten, and has just learnt what may be the wrong body.
            await self._remember(stored)
        before = [stored.get(use.notification_id, found) for use, found in zip(uses, cached, strict=True)]
        return [_compared(use, found) for use, found in zip(uses, before, strict=True)]

    async def _from_redis(self, uses: list[Use]) -> list[bytes | None]:
        if self._resting("redis"):
            return [None] * len(uses)
        try:
            async with asyncio.timeout(_LIMIT_S):
                pipe = self._redis.pipeline(transaction=False)
                for use in uses:
                    pipe.set(_name(use.notification_id), use.request_hash, nx=True, get=True, ex=_KEPT_S)
                found: list[bytes | None] = await pipe.execute()
                return found
        except (RedisError, OSError, TimeoutError) as error:
            self._rest("redis", error)
            return [None] * len(uses)

    async def _from_store(self, notification_ids: list[str]) -> dict[str, bytes]:
        if self._resting("store"):
            return {}
        try:
            async with asyncio.timeout(_LIMIT_S):
                found = self._notifications.find({"_id": {"$in": notification_ids}}, {"request_hash": 1})
                return {row["_id"]: row["request_hash"] async for row in found}
        except (PyMongoError, TimeoutError) as error:
            self._rest("store", error)
            return {}

    async def _remember(self, hashes: Mapping[str, bytes]) -> None:
        if self._resting("redis"):
            return
        try:
            async with asyncio.timeout(_LIMIT_S):
                pipe = self._redis.pipeline(transaction=False)
                for notification_id, hash_ in hashes.items():
                    pipe.set(_name(notification_id), hash_, ex=_KEPT_S)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._rest("redis", error)

    async def is_known(self, notification_id: str) -> bool:
        """Whether a key stood for this notification within the last day; False also where Redis cannot tell."""
        if self._resting("redis"):
            return False
        try:
            async with asyncio.timeout(_LIMIT_S):
                return bool(await self._redis.exists(_name(notification_id)))
        except (RedisError, OSError, TimeoutError) as error:
            self._rest("redis", error)
            return False

    async def forget(self, notification_ids: Collection[str]) -> None:
        """These were not accepted after all: their keys, which had stood for nothing, are free again."""
        if not notification_ids or self._resting("redis"):
            return
        try:
            async with asyncio.timeout(_LIMIT_S):
                await self._redis.delete(*(_name(notification_id) for notification_id in notification_ids))
        except (RedisError, OSError, TimeoutError) as error:
            self._rest("redis", error)

    def _resting(self, source: str) -> bool:
        return time.monotonic() < self._paused.get(source, 0.0)

    def _rest(self, source: str, error: Exception) -> None:
        self._paused[source] = time.monotonic() + _PAUSE_S
        log.warning("key_source_away", source=source, error=type(error).__name__)


def _compared(use: Use, before: bytes | None) -> Seen:
    if not before:
        return Seen.NOTHING
    return Seen.THIS if before in (use.request_hash, use.former_hash) else Seen.ANOTHER


def _name(notification_id: str) -> str:
    return f"crown:key:{notification_id}"
