"""Keeps callers from waiting for a Redis that does not answer: after a failure it is left alone for a while, then
one call tries it, and the others fail at once until that one has succeeded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError, ResponseError

from crown import logs, metrics

log = logs.get(__name__)

T = TypeVar("T")


class Away(Exception):
    """Redis did not answer in time, or failed a moment ago. What was asked may have been done."""


class Breaker:
    """Guards the calls of one kind. `limit_s` is what one may take, `pause_s` how long Redis is left alone."""

    def __init__(self, limit_s: float = 1.0, pause_s: float = 1.0) -> None:
        self._limit_s = limit_s
        self._pause_s = pause_s
        self._closed_until: float | None = None
        self._trying = False

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` answers. Raises Away."""
        now = asyncio.get_running_loop().time()
        if self._closed_until is None:
            return await self._attempt(work)
        if self._trying or now < self._closed_until:
            raise Away("Redis failed a moment ago")
        self._trying = True
        try:
            return await self._attempt(work)
        finally:
            self._trying = False

    async def _attempt(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._limit_s):
                found = await work()
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(error)
            raise Away(f"Redis is away ({type(error).__name__})") from error
        if self._closed_until is not None:
            self._closed_until = None
            log.info("redis_back")
        return found

    def _fail(self, error: Exception) -> None:
        metrics.REDIS_FAILURES.inc()
        if self._closed_until is None:
            # Redis answered, and refuses: no outage, so that somebody has to look.
            bug = error if isinstance(error, ResponseError) else None
            log.warning("redis_away", setting="REDIS_HOST", error=type(error).__name__, exc_info=bug)
        self._closed_until = asyncio.get_running_loop().time() + self._pause_s
