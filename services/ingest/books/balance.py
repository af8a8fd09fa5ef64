"""Whether the books balance: everybody that a notification was accepted for has a row, and every delivery of a row is
final, or stands where somebody will find it and bring it on. Counts, and changes nothing. What dispatch is still at
work on is told from what is missing by the oldest message that it has not settled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crown import subjects
from crown.bus import Bus
from crown.clock import now
from crown.ledger import FINAL, rows_of
from crown.notification.v1.types_pb2 import Category, DeliveryState
from crown.store import Database, Document
from services.ingest.books import unsettled

# A count that takes longer is given up.
LIMIT_MS = 8_000
# Between the moment that a notification has as its time and its message: accepting takes no longer.
SLACK = timedelta(seconds=15)
# What is sent later may come a little before its time.
_EARLY = timedelta(seconds=2)
# Stretches with no more notifications than this are looked into one by one.
_FEW = 500
_MILLISECOND = timedelta(milliseconds=1)
# A row with nothing open has its place in this index, too.
_LANED: Document = {"lane": {"$in": list(subjects.LANES)}, "open": {"$in": [[], *subjects.CHANNELS.values()]}}
# As the index on the age of notifications has them.
_ACCEPTED: Document = {"category": {"$in": list(Category.Type.values())}}
# People a notification is for. Who was listed twice counts once.
_PEOPLE: Document = {
    "$subtract": [
        "$recipient_count",
        {"$sum": {"$map": {"input": {"$objectToArray": {"$ifNull": ["$twice", {}]}}, "in": "$$this.v"}}},
    ]
}


@dataclass(frozen=True, slots=True)
class Counted:
    """Notifications in a stretch of time, the people they are for, and the rows of those."""

    notifications: int
    people: int
    rows: int


class Balance:
    """Counts what the store has."""

    def __init__(self, bus: Bus, db: Database, slack: timedelta = SLACK) -> None:
        self._bus = bus
        self._ledger = db.ledger
        self._notifications = db.notifications
        self._slack = slack

    async def settled_until(self) -> datetime:
        """What was accepted before this has been dispatched."""
        oldest = now()
        for lane in subjects.LANES.values():
            for consumer in (subjects.dispatcher(lane), subjects.due_dispatcher(lane)):
                oldest = min(oldest, await unsettled.oldest(self._bus, consumer) or oldest)
        return oldest - self._slack

    async def counted(self, start: datetime, end: datetime, settled: datetime) -> Counted:
        """The sums of what was accepted in [start, end). Of those whose number shows only when all are listed, and of
        those that were cancelled, everybody who has a row."""
        firm, loose = _firm(settled), await self._loose(start, end, settled)
        found = await self._notifications.aggregate(
            [
                {"$match": {**_ACCEPTED, **_within(start, end), **firm}},
                {"$group": {"_id": None, "notifications": {"$sum": 1}, "people": {"$sum": _PEOPLE}}},
            ],
            maxTimeMS=LIMIT_MS,
        )
        sums = {"notifications": 0, "people": 0, **(await found.to_list() or [{}])[0]}
        rows = await self._ledger.count_documents(
            {**_LANED, **_within(start, end)}, hint="open", maxTimeMS=LIMIT_MS
        )
        extra = sum(loose.values())
        return Counted(sums["notifications"] + len(loose), sums["people"] + extra, rows)

    async def _loose(self, start: datetime, end: datetime, settled: datetime) -> dict[str, int]:
        """The rows of each notification that has as many as it has."""
        where = {**_ACCEPTED, **_within(start, end), "$nor": [_firm(settled)]}
        fields = {"send_time": 1, "cancel_time": 1, "listing": 1}
        found: dict[str, int] = {}
        ahead = now() + _EARLY
        async for row in self._notifications.find(where, fields).max_time_ms(LIMIT_MS):
            waits = (row.get("send_time") or ahead) > ahead and not row.get("cancel_time")
            found[row["_id"]] = 0 if waits else await self._rows_of(row["_id"])
        return found

    async def _rows_of(self, notification_id: str) -> int:
        return await self._ledger.count_documents(rows_of(notification_id), maxTimeMS=LIMIT_MS)

    async def scheduled(self, start: datetime, end: datetime, settled: datetime) -> int:
        """People of those that are to be sent later."""
        where = {**_ACCEPTED, **_within(start, end), "send_time": {"$gt": settled}, "cancel_time": None}
        found = await self._notifications.aggregate(
            [{"$match": where}, {"$group": {"_id": None, "people": {"$sum": _PEOPLE}}}], maxTimeMS=LIMIT_MS
        )
        return int((await found.to_list() or [{"people": 0}])[0]["people"])

    async def missing(
        self, start: datetime, end: datetime, settled: datetime
    ) -> AsyncIterator[tuple[str, int]]:
        """Notifications in [start, end) that have fewer rows than people, and how many fewer; negative where they
        have more. Stretches whose sums agree are not looked into."""
        sums = await self.counted(start, end, settled)
        if sums.people == sums.rows:
            return
        if sums.notifications <= _FEW or end - start <= _MILLISECOND:
            for notification_id, short in (await self._compared(start, end, settled)).items():
                yield notification_id, short
            return
        middle = start + (end - start) / 2
        middle = middle.replace(microsecond=middle.microsecond // 1000 * 1000)
        for part in ((start, middle), (middle, end)):
            async for one in self.missing(*part, settled):
                yield one

    async def _compared(self, start: datetime, end: datetime, settled: datetime) -> dict[str, int]:
        where = {**_ACCEPTED, **_within(start, end), **_firm(settled)}
        found = await self._notifications.aggregate(
            [{"$match": where}, {"$project": {"people": _PEOPLE}}], maxTimeMS=LIMIT_MS
        )
        people = {row["_id"]: row["people"] async for row in found}
        return await self.short(people)

    async def short(self, people: Mapping[str, int]) -> dict[str, int]:
        """Of these notifications, and how many people each is for, those with another number of rows."""
        found = {}
        for notification_id, count in people.items():
            rows = await self._rows_of(notification_id)
            if rows != count:
                found[notification_id] = count - rows
        return found

    # -- deliveries

    async def deliveries(self, start: datetime, end: datetime) -> list[Document]:
        """How many deliveries of rows in [start, end) there are, as {_id: {channel, state, lost}, count}: `lost`
        where it is not final and nobody will find it."""
        found = await self._ledger.aggregate(
            [
                {"$match": {**_LANED, **_within(start, end)}},
                *_DELIVERIES,
                {
                    "$group": {
                        "_id": {"channel": "$d.k", "state": "$d.v.state", "lost": _LOST},
                        "count": {"$sum": 1},
                    }
                },
            ],
            hint="open",
            maxTimeMS=LIMIT_MS,
        )
        return await found.to_list()

    async def lost(self, start: datetime, end: datetime, most: int) -> list[str]:
        """Notifications with deliveries that nobody will find."""
        found = await self._ledger.aggregate(
            [
                {"$match": {**_LANED, **_within(start, end)}},
                *_DELIVERIES,
                {"$match": {"$expr": _LOST}},
                {"$limit": most},
                {"$project": {"notification_id": 1}},
            ],
            hint="open",
            maxTimeMS=LIMIT_MS,
        )
        return list(dict.fromkeys([row["notification_id"] async for row in found]))


_DELIVERIES: list[Document] = [
    {
        "$project": {
            "notification_id": 1,
            "open": 1,
            "wake_time": 1,
            "d": {"$objectToArray": "$deliveries"},
        }
    },
    {"$unwind": "$d"},
]
_STATE = "$d.v.state"
# What is final is in nobody's way; what is deferred is found by the time at which its row wakes, the rest by `open`.
_LOST: Document = {
    "$switch": {
        "branches": [
            {"case": {"$in": [_STATE, list(FINAL)]}, "then": {"$in": ["$d.k", "$open"]}},
            {"case": {"$eq": [_STATE, DeliveryState.DEFERRED]}, "then": {"$lte": ["$wake_time", None]}},
        ],
        "default": {"$not": [{"$in": ["$d.k", "$open"]}]},
    }
}


def _within(start: datetime, end: datetime) -> Document:
    return {"create_time": {"$gte": start, "$lt": end}}


def _firm(settled: datetime) -> Document:
    """A filter for notifications that must have a row for everybody by now."""
    due: list[Any] = [{"send_time": None}, {"send_time": {"$lte": settled}}]
    return {"listing": None, "cancel_time": None, "recipient_count": {"$gt": 0}, "$or": due}
