"""InboxService: a person's notifications, newest first, and which of them are read."""

from __future__ import annotations

from typing import Any

from crown.bus import Bus
from crown.clock import timestamp
from crown.live_position import LivePosition
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.store import Database
from crown.unread import Unread
from crown.vault import Key
from services.ingest.inbox.entries import Entries
from services.ingest.inbox.listing import Listing
from services.ingest.inbox.marking import Marking


class InboxService:
    """The servicer."""

    def __init__(self, bus: Bus, db: Database, data_key: Key) -> None:
        self._listing = Listing(db)
        self._entries = Entries(db, data_key)
        self._unread = Unread(db)
        self._marking = Marking(bus, db, data_key)
        self._position = LivePosition(bus)

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, _context: Any
    ) -> pb.ListNotificationsResponse:
        """One page."""
        # Before the rows: an event up to here is of a row that is listed, and one behind it can be recovered.
        position = await self._position.read()
        page = await self._listing.page(request)
        return pb.ListNotificationsResponse(
            notifications=await self._entries.of(request.user_id, page.rows),
            page=page.number,
            limit=page.limit,
            total=page.total,
            next_cursor=page.next_cursor,
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
            marked = await self._marking.mark_one(request.user_id, request.notification_id)
        else:
            marked = await self._marking.mark(request.user_id, request.notification_ids)
        return pb.MarkReadResponse(marked=marked, unread_count=await self._unread.count(request.user_id))

    async def MarkAllRead(self, request: pb.MarkAllReadRequest, _context: Any) -> pb.MarkAllReadResponse:
        """Marks everything."""
        marked, moment = await self._marking.mark_all(request.user_id)
        return pb.MarkAllReadResponse(marked=marked, read_time=timestamp(moment))
