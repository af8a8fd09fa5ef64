"""Entries: rows of the ledger as the person gets them, with what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bson import Binary

from crown.clock import timestamp
from crown.notification.v1.events_pb2 import NotificationContent
from crown.notification.v1.notification_pb2 import InboxEntry, NotificationData
from crown.people import People
from crown.store import Database, Document
from crown.vault import Key, VaultError
from services.ingest.overview import deliveries

# Names that an entry gives.
NAMES_MOST = 3
# Counts of an entry are exact up to here.
COUNTED_MOST = 10_000
# Rows of a thread in which names are looked for: one person may have done it often.
_LOOKED_AT = 30
_NEWEST_FIRST = [("create_time", -1), ("_id", -1)]


@dataclass(frozen=True, slots=True)
class Crowd:
    """What a thread has beside its newest row: how many notifications and actors, and the rows that name some."""

    count: int
    actors: int
    named: list[Document]


class Entries:
    """Reads what rows say."""

    def __init__(self, db: Database, data_key: Key) -> None:
        self._ledger = db.ledger
        self._notifications = db.notifications
        self._people = People(db, data_key)
        self._data_key = data_key

    async def of(self, user_id: str, rows: Sequence[Document]) -> list[InboxEntry]:
        """The entries of a person's rows, in their order."""
        crowds = await self._crowds(list({row["thread"] for row in rows if "thread" in row}))
        told = {row["_id"]: row for row in rows}
        told.update((row["_id"], row) for crowd in crowds.values() for row in crowd.named)
        contents = await self._contents(user_id, list(told.values()))
        return [_entry(row, crowds.get(row.get("thread", "")) or _alone(row), contents) for row in rows]

    async def _contents(self, user_id: str, rows: Sequence[Document]) -> dict[str, NotificationContent]:
        """What rows say, by row."""
        key = (await self._people.keys([user_id])).get(user_id)
        wanted = list({row["notification_id"] for row in rows})
        found = self._notifications.find({"_id": {"$in": wanted}}, {"content": 1})
        sealed = {row["_id"]: row["content"] async for row in found}
        # What went to everybody is under nobody's key.
        return {
            row["_id"]: _content(
                self._data_key if "everyone" in row else key, row, sealed.get(row["notification_id"])
            )
            for row in rows
        }

    async def _crowds(self, threads: list[str]) -> dict[str, Crowd]:
        if not threads:
            return {}
        first, *others = [stage for thread in threads for stage in _crowd(thread)]
        together = [{"$unionWith": {"coll": self._ledger.name, "pipeline": one}} for one in others]
        found = [one async for one in await self._ledger.aggregate([*first, *together])]
        return {thread: _counted(thread, found) for thread in threads}


def _crowd(thread: str) -> list[list[Document]]:
    """Three questions about a thread, each served by an index: how many rows, how many actors, and the newest."""
    mine = {"$match": {"thread": thread}}
    said = {"thread": {"$literal": thread}}
    return [
        [mine, {"$limit": COUNTED_MOST}, {"$count": "rows"}, {"$set": said}],
        [
            {"$match": {"thread": thread, "actor": {"$gt": Binary(b"")}}},
            {"$group": {"_id": "$actor"}},
            {"$limit": COUNTED_MOST},
            {"$count": "actors"},
            {"$set": said},
        ],
        [
            {"$match": {"thread": thread, "unread": {"$in": [None, True]}}},
            {"$sort": dict(_NEWEST_FIRST)},
            {"$limit": _LOOKED_AT},
            {"$project": {"thread": 1, "actor": 1, "notification_id": 1, "wrapped_key": 1}},
        ],
    ]


def _counted(thread: str, found: list[Document]) -> Crowd:
    mine = [one for one in found if one["thread"] == thread]
    rows = next((one["rows"] for one in mine if "rows" in one), 1)
    actors = next((one["actors"] for one in mine if "actors" in one), 0)
    by_actor: dict[bytes, Document] = {}
    for row in mine:
        if "actor" in row:
            by_actor.setdefault(row["actor"], row)
    return Crowd(rows, actors, list(by_actor.values())[:NAMES_MOST])


def _alone(row: Document) -> Crowd:
    """An entry of one notification."""
    return Crowd(1, 1 if "actor" in row else 0, [row] if "actor" in row else [])


def _entry(row: Document, crowd: Crowd, contents: dict[str, NotificationContent]) -> InboxEntry:
    content = contents[row["_id"]]
    names = [contents[one["_id"]].actor_name for one in crowd.named]
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
        seen_time=timestamp(row.get("seen_time")),
        archive_time=timestamp(row.get("archive_time")),
        group_key=content.group_key,
        actor_names=[name for name in names if name],
        actor_count=crowd.actors,
        count=crowd.count,
        everyone="everyone" in row,
    )


def _content(key: Key | None, row: Document, ciphertext: bytes | None) -> NotificationContent:
    """What it says; empty where it was erased."""
    if key is None or not ciphertext:
        return NotificationContent()
    try:
        return NotificationContent.FromString(key.unwrap(row["wrapped_key"]).open(ciphertext))
    except VaultError:
        return NotificationContent()
