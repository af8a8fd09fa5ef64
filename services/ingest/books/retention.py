"""Retention: what is older than its category is kept for goes, with everything that is known of it; and with it the
idempotency key, which is good as long as its notification is there.

Only what is final goes: while one delivery of a notification is open, deferred or to come, all of it stays. Claims go
by themselves, long before. A notification goes last, so that what a crash leaves is found again."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError

from crown import catalogue, logs
from crown.catalogue import CATEGORIES
from crown.clock import now
from crown.ledger import rows_of
from crown.notification.v1.types_pb2 import Category
from crown.stopping import pause
from crown.store import Document, Store

log = logs.get(__name__)

_PERIOD_S = 3_600.0
# Documents that are deleted in one round trip.
_SLICE = 1_000
# What keeps a notification: its people are still being listed, or it is to be sent yet.
_TO_COME = ("listing", "everyone", "send_time")


def kept_for(category: Category.Type.ValueType) -> timedelta:
    """For how long a category is kept, by the catalogue."""
    return timedelta(days=catalogue.category(CATEGORIES.get(category, "")).retention_days)


class Retention:
    """Looks once an hour, and once at the start."""

    def __init__(self, store: Store) -> None:
        self._notifications = store.db.notifications
        self._ledger = store.db.ledger
        self._timeline = store.db.timeline
        self._broadcasts = store.db.broadcasts

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        while not stopping.is_set():
            try:
                if count := await self.clear(stopping, now()):
                    log.info("retention_cleared", count=count)
            except PyMongoError as error:
                log.warning("retention_failed", error=type(error).__name__)
            await pause(stopping, _PERIOD_S)

    async def clear(self, stopping: asyncio.Event, present: datetime) -> int:
        """Deletes all that is old enough at a moment; answers how many notifications."""
        count = 0
        for category in Category.Type.values():
            before = present - kept_for(category)
            where = {"category": category, "create_time": {"$lt": before}}
            fields = dict.fromkeys(_TO_COME, 1)
            # Oldest first, in the order of the index.
            found = self._notifications.find(where, fields).sort([("category", 1), ("create_time", 1)])
            async for notification in found:
                if stopping.is_set():
                    return count
                if not await self._is_kept(notification, before):
                    await self._delete(notification["_id"])
                    count += 1
        return count

    async def _is_kept(self, notification: Document, before: datetime) -> bool:
        sent = notification.get("send_time")
        if notification.get("listing") or (sent is not None and sent >= before):
            return True
        notification_id = notification["_id"]
        if notification.get("everyone") and await self._broadcasts.find_one({"_id": notification_id}):
            return True
        is_open = {"$or": [{"open": {"$nin": [[], None]}}, {"wake_time": {"$exists": True}}]}
        return await self._ledger.find_one({**rows_of(notification_id), **is_open}, {"_id": 1}) is not None

    async def _delete(self, notification_id: str) -> None:
        await _delete_sliced(self._ledger, rows_of(notification_id))
        await _delete_sliced(self._timeline, {"notification_id": notification_id})
        await self._notifications.delete_one({"_id": notification_id})


async def _delete_sliced(collection: AsyncCollection[Document], where: Document) -> None:
    while part := [row["_id"] async for row in collection.find(where, {"_id": 1}).limit(_SLICE)]:
        await collection.delete_many({"_id": {"$in": part}})
