"""Marks what a person has done with their entries, and tells their sockets. The store is the truth; an event that is
lost with the bus is what a socket learns when it next reads the inbox.

An entry is a row, or the newest of the rows of a thread; a mark of one is a mark of all of them. What is read,
archived or deleted closes its thread before anything else, so that whatever comes later begins an entry of its
own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from crown import logs, subjects, vault
from crown.bus import Bus, BusError, Outgoing
from crown.clock import now, timestamp
from crown.errors import CrownError, NotFound
from crown.ledger import row_id
from crown.notification.v1.events_pb2 import LiveEvent
from crown.store import Database, Document
from services.ingest.inbox.broadcast_marks import BroadcastMarks
from services.ingest.inbox.marks import READ, Mark, said
from services.ingest.inbox.threads import Threads

log = logs.get(__name__)

# Rows that are marked in one step.
_SLICE = 5_000
# Seconds that the answer waits for the bus.
_TELL_LIMIT_S = 1.0
_FIELDS = {"notification_id": 1, "user_id": 1, "thread": 1, "group": 1, "sender": 1, "shelf": 1}


@dataclass(frozen=True, slots=True)
class Marked:
    """How many entries changed, and when; of READ, how many counted as unread before."""

    changed: int
    moment: datetime


class Marking:
    """Marks rows of the ledger."""

    def __init__(self, bus: Bus, db: Database, data_key: vault.Key, broadcasts: BroadcastMarks) -> None:
        self._bus = bus
        self._broadcasts = broadcasts
        self._ledger = db.ledger
        self._threads = Threads(db)
        self._data_key = data_key

    async def mark_one(self, mark: Mark, user_id: str, notification_id: str) -> Marked:
        """As `mark`. Raises NotFound where the person has no such notification."""
        where = {"_id": row_id(notification_id, user_id), "delete_time": None, "hidden": None}
        has_row = await self._ledger.find_one(where, {"_id": 1}) is not None
        if not has_row and not await self._broadcasts.has(user_id, notification_id):
            raise NotFound("this person has no notification with this id")
        return await self.mark(mark, user_id, [notification_id])

    async def mark(self, mark: Mark, user_id: str, notification_ids: Sequence[str]) -> Marked:
        """Marks notifications. What the person does not have is passed over."""
        moment = now()
        wanted = [row_id(notification_id, user_id) for notification_id in notification_ids]
        there = {"_id": {"$in": wanted}, "delete_time": None, "hidden": None}
        named = [row async for row in self._ledger.find(there, _FIELDS)]
        changed, ids = await self._change(mark, named, moment)
        of_all = await self._broadcasts.mark(mark.event, user_id, notification_ids, moment)
        if ids or of_all:
            await self._tell(mark, user_id, moment, {"notification_ids": [*ids, *of_all]})
        return Marked(changed + len(of_all), moment)

    async def mark_all(self, mark: Mark, user_id: str) -> Marked:
        """Marks all that the mark is for at this moment."""
        moment = now()
        changed = 0
        found = self._ledger.find({**mark.all(user_id), "create_time": {"$lte": moment}}, _FIELDS)
        while part := await found.to_list(_SLICE):
            changed += (await self._change(mark, part, moment))[0]
        changed += await self._broadcasts.mark_all(mark.event, user_id, moment)
        if changed:
            await self._tell(mark, user_id, moment, {"all": True, "until": _text(moment)})
        return Marked(changed, moment)

    async def _change(self, mark: Mark, named: list[Document], moment: datetime) -> tuple[int, list[str]]:
        """Marks the entries of the rows that are named. Answers how many changed, and the ids of the notifications
        that are told."""
        threads = list({row["thread"] for row in named if "thread" in row})
        if threads and mark.folded:
            await self._threads.close(named)
        heads = await self._threads.heads(threads, _FIELDS) if threads else []
        rows = [*(row for row in named if "thread" not in row), *heads]
        # A row that went over to another thread meanwhile is news, and not what is meant.
        meant = {
            "_id": {"$in": [row["_id"] for row in rows]},
            "thread": {"$in": [*threads, None]},
            "delete_time": None,
        }
        wanting = [row async for row in self._ledger.find({**meant, **mark.wanting}, {"notification_id": 1})]
        if not wanting:
            return 0, []
        if threads and mark.folded:
            # Before their entry: who is told that it failed, and calls again, finds it wanting.
            folded = {"thread": {"$in": threads}, "shelf": "folded"}
            await self._ledger.update_many(folded, mark.folded(moment))
        changed = await self._update(mark, meant, len(wanting), moment)
        of_named = {row["notification_id"] for row in named if row.get("shelf") == "folded"}
        return changed, [*{row["notification_id"] for row in wanting} | of_named]

    async def _update(self, mark: Mark, meant: Document, wanting: int, moment: datetime) -> int:
        """Marks those of the rows that are still wanting; of several who mark the same row, one counts it."""
        if mark is not READ:
            done = await self._ledger.update_many({**meant, **mark.wanting}, mark.change(moment))
            return done.modified_count
        counted = (
            await self._ledger.update_many({**meant, "unread": True}, mark.change(moment))
        ).modified_count
        if counted < wanting:
            # What came by e-mail alone never counted, and is read all the same.
            await self._ledger.update_many({**meant, **mark.wanting}, mark.change(moment))
        return counted

    async def _tell(self, mark: Mark, user_id: str, moment: datetime, what: dict[str, Any]) -> None:
        event = LiveEvent(
            user_id=user_id,
            event=mark.event,
            create_time=timestamp(moment),
            content=vault.seal(self._data_key, msgspec.json.encode(said(mark, _text(moment), what))),
        )
        message = Outgoing(subjects.live_source(subjects.user_topic(user_id)), event.SerializeToString())
        try:
            await self._bus.publish(message, _TELL_LIMIT_S)
        except (CrownError, BusError) as error:
            log.warning("mark_untold", mark=mark.event, error=type(error).__name__)


def _text(moment: datetime) -> str:
    """RFC 3339, as every surface prints times."""
    stamp = timestamp(moment)
    assert stamp is not None
    return stamp.ToJsonString()
