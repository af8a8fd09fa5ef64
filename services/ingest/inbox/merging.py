"""Merges what went to everybody into the pages of a person's rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from crown.broadcasts import Shown
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.types_pb2 import InboxView
from crown.store import Document


def place(row: Document) -> tuple[datetime, str]:
    """Where a row stands: pages go down from the highest."""
    return row["create_time"], row["notification_id"]


def wanted(shown: Sequence[Shown], request: pb.ListNotificationsRequest) -> list[Document]:
    """Those of the broadcasts that are listed, on whatever page, as rows."""
    return [_row(one) for one in shown if _is_listed(one, request)]


def rows_before(skip: int, broadcasts: int) -> int:
    """How many rows need not be read for a page that begins behind `skip` entries: they stand before it, wherever
    the broadcasts stand."""
    return max(0, skip - broadcasts)


def merged(rows: Sequence[Document], broadcasts: Sequence[Document], skip: int, most: int) -> list[Document]:
    """The `most` entries behind `skip` of both together. `rows` has to begin with the first that `rows_before` does
    not count, and to hold as many more as are skipped of it, and `most`."""
    together = sorted([*rows, *broadcasts], key=place, reverse=True)
    begin = skip - rows_before(skip, len(broadcasts))
    return together[begin : begin + most]


def _is_listed(one: Shown, request: pb.ListNotificationsRequest) -> bool:
    if request.group_key or (request.unread_only and not one.unread):
        return False
    if request.category and request.category != one.broadcast.category:
        return False
    match request.view:
        case InboxView.ALL:
            return True
        case InboxView.ARCHIVED:
            return one.archive_time is not None
        case _:
            return one.archive_time is None


def _row(one: Shown) -> Document:
    broadcast = one.broadcast
    return {
        "_id": broadcast.notification_id,
        "notification_id": broadcast.notification_id,
        "everyone": True,
        "kind": broadcast.kind,
        "category": broadcast.category,
        "channels": list(broadcast.channels),
        "create_time": broadcast.create_time,
        "wrapped_key": broadcast.wrapped_key,
        "deliveries": {},
        "read_time": one.read_time,
        "seen_time": one.seen_time,
        "archive_time": one.archive_time,
    }
