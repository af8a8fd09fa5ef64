"""Cancels notifications: what has not been sent is not sent any more; what has been stays as it is. What everybody
got is one document, and goes out of all inboxes.

The document's `cancel_time` is the truth: dispatch, the clock and the channels look at it before they go on. The
rows are marked beside, so that each tells what became of its deliveries; what is not marked here, whoever comes to
work on it next marks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from pymongo.asynchronous.collection import AsyncCollection

from crown import logs, subjects
from crown.bus import Bus, BusError
from crown.clock import now
from crown.errors import CrownError
from crown.ledger import NOT_FINAL, rows_of
from crown.notification.v1.types_pb2 import DeliveryState
from crown.store import Database, Document
from crown.subjects import CHANNELS
from services.ingest.broadcasts import Broadcaster

log = logs.get(__name__)

# Rows that are marked in one step.
_SLICE = 2_000
# Seconds that one call marks rows for.
_MARK_LIMIT_S = 5.0
_OPEN = [*NOT_FINAL, DeliveryState.DEFERRED]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What cancelling came to: deliveries that will not be made, and those that had come to an end before."""

    count: int
    late: int


class Cancelling:
    """Cancels in the store and on the bus."""

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._notifications = db.notifications
        self._ledger = db.ledger
        self._broadcaster = Broadcaster(bus, db)

    async def cancel(self, notification_id: str) -> Cancelled:
        """Cancels a notification whose document stands; the second time it answers the same."""
        moment = now()
        unset = {"_id": notification_id, "cancel_time": {"$exists": False}}
        await self._notifications.update_one(unset, {"$set": {"cancel_time": moment}})
        await self._unschedule(notification_id)
        await self._withdraw(notification_id)
        await cancel_rows(self._ledger, notification_id, moment)
        return await self._count(notification_id)

    async def _unschedule(self, notification_id: str) -> None:
        request = {"filter": subjects.schedules(notification_id)}
        try:
            await self._bus.api(f"STREAM.PURGE.{subjects.SCHEDULE}", request)
        except (BusError, CrownError) as error:
            # It comes when it is due, and dispatch drops it.
            log.warning("unschedule_failed", error=type(error).__name__)

    async def _withdraw(self, notification_id: str) -> None:
        try:
            await self._broadcaster.withdraw(notification_id)
        except CrownError as error:
            # It is out of the inboxes; open sockets see that when they next count.
            log.warning("withdrawal_untold", error=type(error).__name__)

    async def _count(self, notification_id: str) -> Cancelled:
        late = {"$and": [{"$ne": ["$$one.v.state", state]} for state in [*_OPEN, DeliveryState.CANCELLED]]}
        deliveries = {"$objectToArray": "$deliveries"}
        sizes = {
            "_id": None,
            "all": {"$sum": {"$size": deliveries}},
            "late": {"$sum": {"$size": {"$filter": {"input": deliveries, "as": "one", "cond": late}}}},
        }
        found = await self._ledger.aggregate([{"$match": rows_of(notification_id)}, {"$group": sizes}])
        async for row in found:
            return Cancelled(row["all"] - row["late"], row["late"])
        return Cancelled(0, 0)


async def cancel_rows(ledger: AsyncCollection[Document], notification_id: str, moment: datetime) -> None:
    """Marks what is not final in the rows of a notification, as many as there is time for. Each update is
    conditional, so that nothing is taken back that has ended meanwhile."""
    deadline = time.monotonic() + _MARK_LIMIT_S
    unsettled = {"$or": [{"open": {"$ne": []}}, {"wake_time": {"$exists": True}}]}
    after = f"{notification_id}/"
    while time.monotonic() < deadline:
        where = {"_id": {**rows_of(notification_id)["_id"], "$gt": after}, **unsettled}
        found = [row["_id"] async for row in ledger.find(where, {"_id": 1}).sort("_id", 1).limit(_SLICE)]
        if not found:
            return
        await _mark(ledger, found, moment)
        after = found[-1]


async def _mark(ledger: AsyncCollection[Document], row_ids: list[str], moment: datetime) -> None:
    rows = {"_id": {"$in": row_ids}}
    for channel in CHANNELS.values():
        at = f"deliveries.{channel}"
        fields = {
            f"{at}.state": DeliveryState.CANCELLED,
            f"{at}.reason": "",
            f"{at}.update_time": moment,
            f"{at}.due_time": None,
        }
        still = {**rows, f"{at}.state": {"$in": _OPEN}}
        await ledger.update_many(still, {"$set": fields, "$pull": {"open": channel}})
    # Nothing of these is deferred any more.
    await ledger.update_many({**rows, "wake_time": {"$exists": True}}, {"$unset": {"wake_time": ""}})
