"""Read state: marks what a person has read, and tells their sockets. The store is the truth; an event that is
lost with the bus is what a socket learns when it next reads the inbox."""

from __future__ import annotations

from collections.abc import Sequence
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
from crown.unread import unread

log = logs.get(__name__)

_EVENT = "read"
# Rows that are marked in one step.
_SLICE = 5_000
# Seconds that the answer waits for the bus.
_TELL_LIMIT_S = 1.0


class Marking:
    """Marks rows of the ledger."""

    def __init__(self, bus: Bus, db: Database, data_key: vault.Key) -> None:
        self._bus = bus
        self._ledger = db.ledger
        self._data_key = data_key

    async def mark_one(self, user_id: str, notification_id: str) -> int:
        """As `mark`. Raises NotFound where the person has no such notification."""
        where = {"_id": row_id(notification_id, user_id), "delete_time": None, "hidden": None}
        if await self._ledger.find_one(where, {"_id": 1}) is None:
            raise NotFound("this person has no notification with this id")
        return await self.mark(user_id, [notification_id])

    async def mark(self, user_id: str, notification_ids: Sequence[str]) -> int:
        """Marks notifications as read, and answers how many counted as unread before. What the person does not
        have is passed over."""
        moment = now()
        wanted = [row_id(notification_id, user_id) for notification_id in notification_ids]
        not_read = {"_id": {"$in": wanted}, "read_time": None, "delete_time": None, "hidden": None}
        rows = [row async for row in self._ledger.find(not_read, {"notification_id": 1})]
        if not rows:
            return 0
        marked = await self._mark([row["_id"] for row in rows], {"unread": True}, moment)
        if marked < len(rows):
            # What came by e-mail alone never counted, and is read all the same.
            await self._mark([row["_id"] for row in rows], {"read_time": None}, moment)
        await self._tell(user_id, moment, {"notification_ids": [row["notification_id"] for row in rows]})
        return marked

    async def mark_all(self, user_id: str) -> tuple[int, datetime]:
        """Marks everything that counts as unread at this moment. Answers how many there were, and the moment."""
        moment = now()
        where = {**unread(user_id), "create_time": {"$lte": moment}}
        marked = 0
        while True:
            part = [row["_id"] async for row in self._ledger.find(where, {"_id": 1}).limit(_SLICE)]
            if part:
                marked += await self._mark(part, {"unread": True}, moment)
            if len(part) < _SLICE:
                break
        if marked:
            await self._tell(user_id, moment, {"all": True, "until": _text(moment)})
        return marked, moment

    async def _mark(self, row_ids: list[str], still: Document, moment: datetime) -> int:
        """Marks those of the rows that are still so; of several who mark the same row, one counts it."""
        changed = await self._ledger.update_many(
            {"_id": {"$in": row_ids}, **still}, {"$set": {"read_time": moment}, "$unset": {"unread": ""}}
        )
        return changed.modified_count

    async def _tell(self, user_id: str, moment: datetime, what: dict[str, Any]) -> None:
        payload = msgspec.json.encode({**what, "read_time": _text(moment)})
        event = LiveEvent(
            user_id=user_id,
            event=_EVENT,
            create_time=timestamp(moment),
            content=vault.seal(self._data_key, payload),
        )
        message = Outgoing(subjects.live_source(subjects.user_topic(user_id)), event.SerializeToString())
        try:
            await self._bus.publish(message, _TELL_LIMIT_S)
        except (CrownError, BusError) as error:
            log.warning("read_untold", error=type(error).__name__)


def _text(moment: datetime) -> str:
    """RFC 3339, as every surface prints times."""
    stamp = timestamp(moment)
    assert stamp is not None
    return stamp.ToJsonString()
