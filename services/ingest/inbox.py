"""InboxService: a person's notifications, newest first, and which of them are read."""

from __future__ import annotations

import asyncio
import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any

from crown.bus import Bus
from crown.clock import timestamp
from crown.errors import InvalidRequest, Violation
from crown.live_position import LivePosition
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.events_pb2 import NotificationContent
from crown.notification.v1.notification_pb2 import InboxEntry, NotificationData
from crown.people import People
from crown.store import Database, Document
from crown.unread import Unread, unread
from crown.vault import Key, VaultError
from services.ingest.overview import deliveries
from services.ingest.reading import Reading

LIMIT = 20
# Pages and the total are exact up to here; beyond, a cursor goes on.
COUNTED_MOST = 10_000
_NEWEST_FIRST = [("create_time", -1), ("_id", -1)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class InboxService:
    """The servicer."""

    def __init__(self, bus: Bus, db: Database, data_key: Key) -> None:
        self._ledger = db.ledger
        self._notifications = db.notifications
        self._people = People(db, data_key)
        self._unread = Unread(db)
        self._reading = Reading(bus, db, data_key)
        self._position = LivePosition(bus)

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, _context: Any
    ) -> pb.ListNotificationsResponse:
        """One page."""
        limit = request.limit if request.HasField("limit") else LIMIT
        page = request.page if request.HasField("page") else 1
        where = _listed(request)
        skip = 0
        if request.cursor:
            if request.HasField("page"):
                raise _bad("cursor", "must not be given together with page")
            page, after = 0, _position(request.cursor)
            where_page = {**where, **after}
        else:
            skip = (page - 1) * limit
            if skip + limit > COUNTED_MOST:
                raise _bad("page", f"must end at entry {COUNTED_MOST} or before; use next_cursor beyond")
            where_page = where
        # Before the rows: an event up to here is of a row that is listed, and one behind it can be recovered.
        position = await self._position.read()
        cursor = self._ledger.find(where_page).sort(_NEWEST_FIRST).skip(skip).limit(limit + 1)
        rows = [row async for row in cursor]
        entries, total = await asyncio.gather(
            self._entries(request.user_id, rows[:limit]),
            self._ledger.count_documents(where, limit=COUNTED_MOST),
        )
        return pb.ListNotificationsResponse(
            notifications=entries,
            page=page,
            limit=limit,
            total=total,
            next_cursor=_cursor(rows[limit - 1]) if len(rows) > limit else "",
            offset=position.offset,
            epoch=position.epoch,
        )

    async def GetUnreadCount(
        self, request: pb.GetUnreadCountRequest, _context: Any
    ) -> pb.GetUnreadCountResponse:
        """How many are unread."""
        return pb.GetUnreadCountResponse(unread_count=await self._unread.count(request.user_id))

    async def MarkRead(self, request: pb.MarkReadRequest, _context: Any) -> pb.MarkReadResponse:
        """Marks one, or several."""
        if request.notification_id:
            marked = await self._reading.mark_one(request.user_id, request.notification_id)
        else:
            marked = await self._reading.mark(request.user_id, request.notification_ids)
        return pb.MarkReadResponse(marked=marked, unread_count=await self._unread.count(request.user_id))

    async def MarkAllRead(self, request: pb.MarkAllReadRequest, _context: Any) -> pb.MarkAllReadResponse:
        """Marks everything."""
        marked, moment = await self._reading.mark_all(request.user_id)
        return pb.MarkAllReadResponse(marked=marked, read_time=timestamp(moment))

    async def _entries(self, user_id: str, rows: list[Document]) -> list[InboxEntry]:
        key = (await self._people.keys([user_id])).get(user_id)
        wanted = [row["notification_id"] for row in rows]
        found = self._notifications.find({"_id": {"$in": wanted}}, {"content": 1})
        contents = {row["_id"]: row["content"] async for row in found}
        return [_entry(row, _data(key, row, contents.get(row["notification_id"]))) for row in rows]


def _listed(request: pb.ListNotificationsRequest) -> Document:
    """A filter for all that is listed, on whatever page."""
    if request.unread_only:
        return unread(request.user_id)
    return {"user_id": request.user_id, "delete_time": None}


def _entry(row: Document, data: NotificationData) -> InboxEntry:
    return InboxEntry(
        notification_id=row["notification_id"],
        type=row["channels"][0],
        channels=row["channels"],
        kind=row["kind"],
        category=row["category"],
        data=data,
        create_time=timestamp(row["create_time"]),
        read_time=timestamp(row.get("read_time")),
        deliveries=deliveries(row),
    )


def _data(key: Key | None, row: Document, ciphertext: bytes | None) -> NotificationData:
    """What it says; empty where it was erased."""
    if key is None or not ciphertext:
        return NotificationData()
    try:
        content = key.unwrap(row["wrapped_key"]).open(ciphertext)
    except VaultError:
        return NotificationData()
    return NotificationData.FromString(NotificationContent.FromString(content).data)


def _cursor(row: Document) -> str:
    """The place after `row`, opaque to callers."""
    millis = (row["create_time"] - _EPOCH) // _MILLISECOND
    return base64.urlsafe_b64encode(f"{millis}:{row['notification_id']}".encode()).decode()


def _position(cursor: str) -> Document:
    """A filter for what comes after the place that `cursor` names. Raises InvalidRequest."""
    try:
        millis, notification_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(":")
        moment = _EPOCH + _MILLISECOND * int(millis)
    except (ValueError, binascii.Error, OverflowError):
        notification_id = ""
    if not notification_id:
        raise _bad("cursor", "must be a next_cursor of an earlier answer") from None
    # The id of a row is the notification's and then the user's, and the user is the same throughout.
    before = {"create_time": moment, "notification_id": {"$lt": notification_id}}
    return {"$or": [{"create_time": {"$lt": moment}}, before]}


def _bad(field: str, what: str) -> InvalidRequest:
    return InvalidRequest.of([Violation(field, what, "page")])
