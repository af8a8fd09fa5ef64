"""InboxService: a person's notifications, newest first, and what they have done with them."""

from __future__ import annotations

import asyncio
from typing import Any

from crown.broadcasts import Broadcasts
from crown.bus import Bus
from crown.clock import timestamp
from crown.live_position import LivePosition
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.store import Database
from crown.unread import Unread
from crown.vault import Key
from services.ingest.inbox import marks
from services.ingest.inbox.broadcast_marks import BroadcastMarks
from services.ingest.inbox.entries import Entries
from services.ingest.inbox.listing import Listing
from services.ingest.inbox.marking import Marking
from services.ingest.inbox.marks import Mark

_MarkRequest = (
    pb.MarkUnreadRequest
    | pb.MarkSeenRequest
    | pb.ArchiveNotificationsRequest
    | pb.UnarchiveNotificationsRequest
    | pb.DeleteNotificationsRequest
)


class InboxService:
    """The servicer."""

    def __init__(self, bus: Bus, db: Database, data_key: Key) -> None:
        broadcasts = Broadcasts(db)
        self._listing = Listing(db, data_key, broadcasts)
        self._entries = Entries(db, data_key)
        self._unread = Unread(db, broadcasts)
        self._marking = Marking(bus, db, data_key, BroadcastMarks(db, broadcasts))
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
        """How many are unread, and unseen."""
        unread, unseen = await self._counts(request.user_id)
        return pb.GetUnreadCountResponse(unread_count=unread, unseen_count=unseen)

    async def MarkRead(self, request: pb.MarkReadRequest, _context: Any) -> pb.MarkReadResponse:
        """Marks one, or several."""
        if request.notification_id:
            marked = await self._marking.mark_one(marks.READ, request.user_id, request.notification_id)
        else:
            marked = await self._marking.mark(marks.READ, request.user_id, request.notification_ids)
        return pb.MarkReadResponse(
            marked=marked.changed, unread_count=await self._unread.count(request.user_id)
        )

    async def MarkAllRead(self, request: pb.MarkAllReadRequest, _context: Any) -> pb.MarkAllReadResponse:
        """Marks everything."""
        marked = await self._marking.mark_all(marks.READ, request.user_id)
        return pb.MarkAllReadResponse(marked=marked.changed, read_time=timestamp(marked.moment))

    async def MarkUnread(self, request: pb.MarkUnreadRequest, _context: Any) -> pb.MarkUnreadResponse:
        """Takes back that they were read."""
        return pb.MarkUnreadResponse(**await self._mark(marks.UNREAD, request))

    async def MarkSeen(self, request: pb.MarkSeenRequest, _context: Any) -> pb.MarkSeenResponse:
        """They are no news any more."""
        return pb.MarkSeenResponse(**await self._mark(marks.SEEN, request))

    async def ArchiveNotifications(
        self, request: pb.ArchiveNotificationsRequest, _context: Any
    ) -> pb.ArchiveNotificationsResponse:
        """Puts them into the archive."""
        return pb.ArchiveNotificationsResponse(**await self._mark(marks.ARCHIVED, request))

    async def UnarchiveNotifications(
        self, request: pb.UnarchiveNotificationsRequest, _context: Any
    ) -> pb.UnarchiveNotificationsResponse:
        """Takes them out of it."""
        return pb.UnarchiveNotificationsResponse(**await self._mark(marks.UNARCHIVED, request))

    async def DeleteNotifications(
        self, request: pb.DeleteNotificationsRequest, _context: Any
    ) -> pb.DeleteNotificationsResponse:
        """Deletes them for this person."""
        return pb.DeleteNotificationsResponse(**await self._mark(marks.DELETED, request))

    async def _mark(self, mark: Mark, request: _MarkRequest) -> dict[str, Any]:
        """The fields of the answer, which all of these have."""
        user_id = request.user_id
        if request.all:
            marked = await self._marking.mark_all(mark, user_id)
        elif request.notification_id:
            marked = await self._marking.mark_one(mark, user_id, request.notification_id)
        else:
            marked = await self._marking.mark(mark, user_id, request.notification_ids)
        unread, unseen = await self._counts(user_id)
        return {
            "changed": marked.changed,
            "unread_count": unread,
            "unseen_count": unseen,
            "time": timestamp(marked.moment),
        }

    async def _counts(self, user_id: str) -> tuple[int, int]:
        return await asyncio.gather(self._unread.count(user_id), self._unread.count_unseen(user_id))
