"""What a person was sent, and what they did with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from crown.client.calls import Calls
from crown.client.marks import ALL, Which, meant, named
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from crown.notification.v1.notification_pb2 import InboxEntry
from crown.notification.v1.types_pb2 import Category, InboxView


class Inbox:
    """The inbox of a person. Marks are made again where an answer got lost: twice is once. `which` is the id of one
    notification, up to 100 ids, or ALL; of one id that the person does not have, NotFound is raised."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = InboxServiceStub(channel)
        self._calls = calls

    async def page(
        self,
        user_id: str,
        *,
        cursor: str = "",
        limit: int = 20,
        unread_only: bool = False,
        category: Category.Type.ValueType = Category.CATEGORY_UNSPECIFIED,
        group_key: str = "",
        view: InboxView.Type.ValueType = InboxView.INBOX,
    ) -> pb.ListNotificationsResponse:
        """One page, newest first; the next one is found by its `next_cursor`."""
        request = pb.ListNotificationsRequest(
            user_id=user_id,
            cursor=cursor,
            limit=limit,
            unread_only=unread_only,
            category=category,
            group_key=group_key,
            view=view,
        )
        return await self._calls.unary(self._stub.ListNotifications, request)

    async def entries(
        self, user_id: str, *, page_size: int = 50, view: InboxView.Type.ValueType = InboxView.INBOX
    ) -> AsyncIterator[InboxEntry]:
        """All entries, newest first, fetched as they are asked for. What arrives meanwhile is not among them."""
        cursor = ""
        while True:
            page = await self.page(user_id, cursor=cursor, limit=page_size, view=view)
            for entry in page.notifications:
                yield entry
            if not page.next_cursor:
                return
            cursor = page.next_cursor

    async def counts(self, user_id: str) -> pb.GetUnreadCountResponse:
        """How many entries are unread, and how many of these were not even seen."""
        return await self._calls.unary(self._stub.GetUnreadCount, pb.GetUnreadCountRequest(user_id=user_id))

    async def mark_read(self, user_id: str, which: Which) -> int:
        """Marks entries as read, and answers how many were not."""
        if which is ALL:
            everything = pb.MarkAllReadRequest(user_id=user_id)
            return (await self._calls.unary(self._stub.MarkAllRead, everything)).marked
        request = pb.MarkReadRequest(user_id=user_id, **named(which))
        return (await self._calls.unary(self._stub.MarkRead, request)).marked

    async def mark_unread(self, user_id: str, which: Which) -> int:
        """Marks entries as unread, and answers how many changed."""
        request = pb.MarkUnreadRequest(user_id=user_id, **meant(which))
        return (await self._calls.unary(self._stub.MarkUnread, request)).changed

    async def mark_seen(self, user_id: str, which: Which) -> int:
        """Marks entries as seen, which are unread still, and answers how many changed."""
        request = pb.MarkSeenRequest(user_id=user_id, **meant(which))
        return (await self._calls.unary(self._stub.MarkSeen, request)).changed

    async def archive(self, user_id: str, which: Which) -> int:
        """Puts entries into the archive, as read, and answers how many changed."""
        request = pb.ArchiveNotificationsRequest(user_id=user_id, **meant(which))
        return (await self._calls.unary(self._stub.ArchiveNotifications, request)).changed

    async def unarchive(self, user_id: str, which: Which) -> int:
        """Puts entries back into the inbox, and answers how many changed."""
        request = pb.UnarchiveNotificationsRequest(user_id=user_id, **meant(which))
        return (await self._calls.unary(self._stub.UnarchiveNotifications, request)).changed

    async def delete(self, user_id: str, which: Which) -> int:
        """Deletes entries, and answers how many changed. With ALL the archive stays."""
        request = pb.DeleteNotificationsRequest(user_id=user_id, **meant(which))
        return (await self._calls.unary(self._stub.DeleteNotifications, request)).changed
