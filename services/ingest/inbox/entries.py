"""Entries: rows of the ledger as the person gets them, with what they say."""

from __future__ import annotations

from collections.abc import Sequence

from crown.clock import timestamp
from crown.notification.v1.events_pb2 import NotificationContent
from crown.notification.v1.notification_pb2 import InboxEntry, NotificationData
from crown.people import People
from crown.store import Database, Document
from crown.vault import Key, VaultError
from services.ingest.overview import deliveries


class Entries:
    """Reads what rows say."""

    def __init__(self, db: Database, data_key: Key) -> None:
        self._notifications = db.notifications
        self._people = People(db, data_key)

    async def of(self, user_id: str, rows: Sequence[Document]) -> list[InboxEntry]:
        """The entries of a person's rows, in their order."""
        key = (await self._people.keys([user_id])).get(user_id)
        wanted = [row["notification_id"] for row in rows]
        found = self._notifications.find({"_id": {"$in": wanted}}, {"content": 1})
        contents = {row["_id"]: row["content"] async for row in found}
        return [_entry(row, _content(key, row, contents.get(row["notification_id"]))) for row in rows]


def _entry(row: Document, content: NotificationContent) -> InboxEntry:
    return InboxEntry(
        notification_id=row["notification_id"],
        type=row["channels"][0],
        channels=row["channels"],
        kind=row["kind"],
        category=row["category"],
        data=NotificationData.FromString(content.data),
        create_time=timestamp(row["create_time"]),
        read_time=timestamp(row.get("read_time")),
        deliveries=deliveries(row),
    )


def _content(key: Key | None, row: Document, ciphertext: bytes | None) -> NotificationContent:
    """What it says; empty where it was erased."""
    if key is None or not ciphertext:
        return NotificationContent()
    try:
        return NotificationContent.FromString(key.unwrap(row["wrapped_key"]).open(ciphertext))
    except VaultError:
        return NotificationContent()
