"""What became of one notification: its document and its rows of the ledger, as its sender sees them."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from crown.clock import now, timestamp
from crown.ledger import rows_of
from crown.notification.v1.notification_pb2 import Delivery, Notification
from crown.notification.v1.types_pb2 import NotificationStatus
from crown.store import Database, Document
from crown.subjects import CHANNELS
from services.ingest.intake.keys import KeyBook

_CHANNEL_OF = {name: value for value, name in CHANNELS.items()}
DELIVERIES_MOST = 1_000
# A notification that was accepted a moment ago is dispatched in a moment: worth waiting for.
_FRESH_S = 5.0
_WAIT_S = 2.0
_STEP_S = 0.05


class Overview:
    """Reads notifications with their deliveries."""

    def __init__(self, db: Database, keys: KeyBook) -> None:
        self._notifications = db.notifications
        self._ledger = db.ledger
        self._keys = keys

    async def find(self, notification_id: str) -> Notification | None:
        """The notification; None where there is none."""
        row = await self.document(notification_id)
        if row is None:
            return None
        # Asked before the rows are read: what is final stays so, and nobody is told "done" beside a delivery
        # that was still on its way.
        is_open = await self._is_open(row)
        cursor = self._ledger.find(rows_of(notification_id), {"deliveries": 1, "user_id": 1}).sort("_id", 1)
        rows = [found async for found in cursor.limit(DELIVERIES_MOST)]
        return _notification(row, rows, is_open)

    async def document(self, notification_id: str) -> Document | None:
        """The notification as it is stored, without content; None where there is none."""
        return await self._find(notification_id) or await self._await(notification_id)

    async def _find(self, notification_id: str) -> Document | None:
        return await self._notifications.find_one({"_id": notification_id}, {"content": 0})

    async def _await(self, notification_id: str) -> Document | None:
        """What `_find` answers soon, where the notification can have been accepted just now."""
        if not _is_fresh(notification_id) and not await self._keys.is_known(notification_id):
            return None
        deadline = time.monotonic() + _WAIT_S
        row = None
        while row is None and time.monotonic() < deadline:
            await asyncio.sleep(_STEP_S)
            row = await self._find(notification_id)
        return row

    async def _is_open(self, row: Document) -> bool:
        """True while a delivery is not final, or some people's rows are not written yet. What goes to everybody
        has no rows: it is done when it was decided on."""
        if row.get("everyone"):
            return row.get("decide_time") is None
        if row.get("listing"):
            return True
        count = _count(row)
        if count and await self._ledger.count_documents(rows_of(row["_id"]), limit=count) < count:
            return True
        unsettled = [{"open": {"$ne": []}}, {"wake_time": {"$exists": True}}]
        waiting = await self._ledger.find_one({**rows_of(row["_id"]), "$or": unsettled}, {"_id": 1})
        return waiting is not None


def _is_fresh(notification_id: str) -> bool:
    """Whether a UUIDv7 says that it was made just now. An id that is a function of a key tells no time."""
    uuid = UUID(notification_id)
    return uuid.version == 7 and abs(time.time() - (uuid.int >> 80) / 1000) < _FRESH_S


def _count(row: Document) -> int:
    """How many people it is for; 0 while they are listed. Who was listed twice counts once."""
    if row.get("listing"):
        return 0
    count: int = row["recipient_count"] - sum(row.get("twice", {}).values())
    return count


def _notification(row: Document, rows: list[Document], is_open: bool) -> Notification:
    return Notification(
        notification_id=row["_id"],
        status=_status(row, is_open),
        sender=row["sender"],
        kind=row["kind"],
        category=row["category"],
        priority=row["priority"],
        channels=row["channels"],
        create_time=timestamp(row["create_time"]),
        expire_time=timestamp(row["expire_time"]),
        send_time=timestamp(row.get("send_time")),
        recipient_count=_count(row),
        deliveries=[delivery for found in rows for delivery in deliveries(found)][:DELIVERIES_MOST],
        everyone=row.get("everyone", False),
        trace_id=row.get("trace_id", ""),
    )


def _status(row: Document, is_open: bool) -> NotificationStatus.Type.ValueType:
    if row.get("cancel_time"):
        return NotificationStatus.CANCELLED
    send_time = row.get("send_time")
    if send_time is not None and send_time > now():
        return NotificationStatus.SCHEDULED
    return NotificationStatus.IN_PROGRESS if is_open else NotificationStatus.DONE


def deliveries(row: Document) -> list[Delivery]:
    """The deliveries of one row of the ledger, in the order of their channels."""
    found = [
        Delivery(
            delivery_id=state["id"],
            user_id=row["user_id"],
            channel=_CHANNEL_OF[channel],
            state=state["state"],
            reason=state.get("reason", ""),
            attempts=state.get("attempts", 0),
            provider=state.get("provider", ""),
            provider_message_id=state.get("provider_message_id", ""),
            update_time=timestamp(state["update_time"]),
            due_time=timestamp(state.get("due_time")),
            open_time=timestamp(state.get("open_time")),
            click_time=timestamp(state.get("click_time")),
        )
        for channel, state in row["deliveries"].items()
        # A channel of newer code is told by that.
        if channel in _CHANNEL_OF
    ]
    return sorted(found, key=lambda delivery: delivery.channel)
