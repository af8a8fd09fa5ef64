"""The list: pages of a person's rows, newest first, with what went to everybody among them, and how many there
are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crown.broadcasts import Broadcasts
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.types_pb2 import InboxView
from crown.store import Database, Document
from crown.unread import unread
from crown.vault import Key
from services.ingest.inbox import cursor as cursors
from services.ingest.inbox import merging
from services.ingest.inbox.cursor import after, bad, cursor
from services.ingest.intake.accept import group_hash

LIMIT = 20
# Pages and the total are exact up to here; beyond, a cursor goes on.
COUNTED_MOST = 10_000
_NEWEST_FIRST = [("create_time", -1), ("_id", -1)]
_SHELVES: Mapping[InboxView.Type.ValueType, Any] = {
    InboxView.VIEW_UNSPECIFIED: None,
    InboxView.INBOX: None,
    InboxView.ARCHIVED: "archived",
    InboxView.ALL: {"$in": [None, "archived"]},
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows. `number` is 0 where a cursor was given, `next_cursor` empty where nothing comes after."""

    rows: list[Document]
    number: int
    limit: int
    total: int
    next_cursor: str


class Listing:
    """Reads the ledger and the broadcasts."""

    def __init__(self, db: Database, data_key: Key, broadcasts: Broadcasts) -> None:
        self._ledger = db.ledger
        self._broadcasts = broadcasts
        self._data_key = data_key

    async def page(self, request: pb.ListNotificationsRequest) -> Page:
        """The page that was asked for. Raises InvalidRequest where there is no such place."""
        limit = request.limit if request.HasField("limit") else LIMIT
        where = listed(request, self._data_key)
        number, skip, place = _place(request, limit)
        shown = merging.wanted(await self._broadcasts.of(request.user_id), request)
        here = shown
        if request.cursor:
            begin = cursors.place(request.cursor)
            here = [row for row in shown if merging.place(row) < begin]
        before = merging.rows_before(skip, len(here))
        most = skip - before + limit + 1
        rows, total = await asyncio.gather(
            self._rows({**where, **place}, before, most),
            self._ledger.count_documents(where, limit=COUNTED_MOST),
        )
        rows = merging.merged(rows, here, skip, limit + 1)
        next_cursor = cursor(rows[limit - 1]) if len(rows) > limit else ""
        return Page(rows[:limit], number, limit, min(total + len(shown), COUNTED_MOST), next_cursor)

    async def _rows(self, where: Document, skip: int, count: int) -> list[Document]:
        found = self._ledger.find(where, {"_id": 1} if skip else None)
        rows = await found.sort(_NEWEST_FIRST).skip(skip).limit(count).to_list()
        if skip and rows:
            # Only now: what is skipped is passed over in the index, and not read.
            wanted = {"_id": {"$in": [row["_id"] for row in rows]}}
            rows = await self._ledger.find(wanted).sort(_NEWEST_FIRST).to_list()
        return rows


def listed(request: pb.ListNotificationsRequest, data_key: Key) -> Document:
    """A filter for all that is listed, on whatever page."""
    where: Document = {"user_id": request.user_id, "hidden": None, "shelf": _SHELVES[request.view]}
    if request.unread_only:
        # Seen or not: named, so that the index gives them in order.
        where = {**where, **unread(request.user_id), "unseen": {"$in": [None, True]}}
    if request.category:
        where["category"] = request.category
    if request.group_key:
        where["group"] = group_hash(data_key, request.group_key)
    return where


def _place(request: pb.ListNotificationsRequest, limit: int) -> tuple[int, int, Document]:
    """Number of the page, rows to skip, and a filter for where it begins."""
    page = request.page if request.HasField("page") else 1
    if request.cursor:
        if request.HasField("page"):
            raise bad("cursor", "must not be given together with page")
        return 0, 0, after(request.cursor)
    skip = (page - 1) * limit
    if skip + limit > COUNTED_MOST:
        raise bad("page", f"must end at entry {COUNTED_MOST} or before; use next_cursor beyond")
    return page, skip, {}
