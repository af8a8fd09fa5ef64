"""The auditor: tells the books as metrics, all the time. What was accepted is looked at once, when it has been
dispatched; what was missing then is looked at again until it has come."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from pymongo.errors import PyMongoError

from crown import logs, metrics
from crown.bus import Bus, BusError
from crown.clock import now
from crown.errors import CrownError
from crown.notification.v1.types_pb2 import Channel, Priority
from crown.stopping import pause
from crown.store import Store
from services.ingest.books.balance import SLACK, Balance
from services.ingest.books.books import Present

log = logs.get(__name__)

_PERIOD_S = 15.0
# How far back the first look goes.
_BEFORE = timedelta(hours=1)
# The longest stretch of one look.
_STEP = timedelta(minutes=10)
_MISSING_MOST = 1_000


class Auditor:
    """Looks every few seconds."""

    def __init__(self, bus: Bus, store: Store, slack: timedelta = SLACK) -> None:
        self._bus = bus
        self._balance = Balance(bus, store.db, slack)
        self._present = Present(bus, store.db)
        self._audited: datetime = now() - _BEFORE
        # Notifications that are off, and when they were accepted at the earliest and at the latest.
        self._off: dict[str, tuple[datetime, datetime]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        while not stopping.is_set():
            try:
                await self.audit()
            except (PyMongoError, CrownError, BusError) as error:
                log.warning("audit_failed", error=type(error).__name__)
            await pause(stopping, _PERIOD_S)

    async def audit(self) -> int:
        """One look; answers how many rows are missing. Raises what store and bus raise."""
        await self._tell_present()
        settled = await self._balance.settled_until()
        stretches = dict.fromkeys(self._off.values())
        begun = self._audited
        while begun < settled:
            end = min(settled, begun + _STEP)
            stretches[begun, end] = None
            begun = end
        difference = 0
        off: dict[str, tuple[datetime, datetime]] = {}
        for start, end in stretches:
            async for notification_id, short in self._balance.missing(start, end, settled):
                difference += abs(short)
                if len(off) < _MISSING_MOST:
                    off[notification_id] = (start, end)
            self._audited = max(self._audited, end)
        for notification_id in off.keys() - self._off.keys():
            log.error("books_differ", notification_id=notification_id)
        self._off = off
        metrics.BOOKS_DIFFERENCE.set(difference)
        return difference

    async def _tell_present(self) -> None:
        present = now()
        for flight in await self._present.in_flight():
            name = Channel.Type.Name(flight.channel).lower()
            oldest = flight.oldest_time.seconds if flight.HasField("oldest_time") else present.timestamp()
            metrics.BOOKS_IN_FLIGHT.labels(name).set(flight.count)
            metrics.BOOKS_OLDEST.labels(name).set(max(0.0, present.timestamp() - oldest))
        for lane in await self._present.intake():
            name = Priority.Type.Name(lane.lane).lower()
            metrics.BOOKS_INTAKE.labels(name).set(lane.waiting + lane.taken)
        metrics.BOOKS_DEFERRED.set(await self._present.deferred())
        metrics.BOOKS_LATE.set(await self._present.late())
