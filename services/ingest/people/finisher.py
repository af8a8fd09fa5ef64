"""Finishes what erasures have left: the last pass, once what was under way has come to rest, and passes that broke
off. Several processes may do it side by side."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from crown import logs
from crown.bus import BusError
from crown.clock import now
from crown.erasures import Mark
from crown.errors import CrownError
from crown.stopping import pause
from services.ingest.people.erasure import Eraser

log = logs.get(__name__)

PERIOD_S = 5.0
# By then every attempt that was under way has been recorded, and what it came to stands in the timeline.
SETTLED = timedelta(minutes=2)
# After it broke off, or its process died.
AGAIN = timedelta(seconds=15)
_MARKS_MOST = 20


class Finisher:
    """Looks every few seconds. `settled` is how long after the first pass the last one is made."""

    def __init__(self, eraser: Eraser, settled: timedelta = SETTLED) -> None:
        self._eraser = eraser
        self._erasures = eraser.erasures
        self._settled = settled

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        while not stopping.is_set():
            try:
                await self.finish()
            except PyMongoError as error:
                log.warning("erasures_wait", error=type(error).__name__)
            await pause(stopping, PERIOD_S)

    async def begin(self, user_id: str) -> Mark:
        """Notes the erasure and destroys the key: from here on it will be done, whatever happens. Raises
        PyMongoError."""
        moment = now()
        mark = await self._erasures.put(user_id, moment, moment + AGAIN)
        await self._eraser.destroy_key(mark)
        return mark

    async def finish(self) -> None:
        """One look. Raises PyMongoError where the marks cannot be read."""
        for mark in await self._erasures.due(now(), _MARKS_MOST):
            await self.go_on(mark)

    async def go_on(self, mark: Mark) -> None:
        """Makes the next pass; one that breaks off is made again later."""
        try:
            if mark.passes == 0:
                await self._eraser.first(mark)
                await self._erasures.passed(mark, now() + self._settled)
            else:
                await self._eraser.last(mark)
                await self._erasures.done(mark)
        except (PyMongoError, RedisError, CrownError, BusError, OSError, TimeoutError) as error:
            log.warning("erasure_waits", erasure=mark.id, error=type(error).__name__)
            await self._erasures.put_off(mark, now() + AGAIN)
