"""Sends what schedules say, in every process of the role record. The id of what is sent is a function of schedule
and time: who sends and dies before the schedule went on makes the next one send the same notification again, and that
is no second one."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from pymongo.errors import PyMongoError

from crown import failpoint, logs, subjects, tracing, vault
from crown.bus import Bus, BusError, Outgoing
from crown.clock import Clock, now
from crown.errors import CrownError
from crown.stopping import pause
from crown.store import Document, Store
from crown.vault import Key, VaultError
from services.ingest.intake import accept
from services.ingest.schedules import times
from services.ingest.schedules.book import Book

log = logs.get(__name__)

PERIOD_S = 1.0
_METHOD = "Schedule"


async def send(bus: Bus, book: Book, data_key: Key, found: Document, key: str) -> str:
    """Puts what a schedule sends on the intake and answers its id, which is the same for the same `key`. Raises
    CrownError, BusError or VaultError."""
    request = book.notification(found)
    whole_key = f"{found['_id']}:{key}" if key else ""
    accepted = accept.resolve(request, found["sender"], _METHOD, whole_key, 0, data_key)
    subject = subjects.intake(accepted.lane)
    step = tracing.root(
        "send schedule",
        tracing.Kind.PRODUCER,
        notification_id=accepted.notification_id,
        lane=accepted.lane,
        kind=request.kind,
    )
    with step:
        headers = tracing.header(tracing.current())
        await bus.publish_batch([Outgoing(subject, part, headers) for part in accepted.parts])
    return accepted.notification_id


class Firing:
    """Looks once a second. Times that were missed by less than `grace` are made up for, once."""

    def __init__(
        self, bus: Bus, store: Store, data_key: vault.Key, grace: timedelta, clock: Clock = now
    ) -> None:
        self._bus = bus
        self._book = Book(store.db, data_key)
        self._data_key = data_key
        self._grace = grace
        self._clock = clock

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        while not stopping.is_set():
            try:
                await self.look()
            except (PyMongoError, CrownError, BusError) as error:
                log.warning("schedules_wait", error=type(error).__name__)
            await pause(stopping, PERIOD_S)

    async def look(self) -> int:
        """Sends all that is due, and answers how many there were."""
        count = 0
        present = self._clock()
        while (found := await self._book.due(present)) is not None:
            await self._fire(found, present)
            count += 1
        return count

    async def _fire(self, found: Document, present: datetime) -> None:
        moment = times.missed(found["cron"], found["time_zone"], found["next_time"], present, self._grace)
        sent: Document = {}
        if moment is None:
            log.warning("schedule_skipped", schedule_id=found["_id"])
        else:
            try:
                notification_id = await send(self._bus, self._book, self._data_key, found, moment.isoformat())
                sent = {"last_time": moment, "last_notification_id": notification_id}
            except VaultError:
                # It will never be readable; the next one in line must not wait for it.
                log.exception("schedule_unreadable", schedule_id=found["_id"])
            failpoint.reach("schedules.after_publish")
        await self._book.advance(found, sent, present)
