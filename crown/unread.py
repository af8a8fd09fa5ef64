"""How many notifications a person has not read, and not even seen. Counted from an index each time, so that it
cannot drift; what went to everybody is counted beside."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from crown.broadcasts import Broadcasts
from crown.gather import Gather
from crown.store import Database, Document

COUNTED_MOST = 10_000
# Of one person each; in one round trip.
_COUNTS_MOST = 100


def unread(user_id: str) -> Document:
    """A filter for what a person has not read, served by the index of unread entries."""
    return {"user_id": user_id, "unread": True, "hidden": None}


class Unread:
    """Counts in the ledger and among broadcasts: exact up to COUNTED_MOST, which is also the most it says."""

    def __init__(self, db: Database, broadcasts: Broadcasts | None = None) -> None:
        self._ledger = db.ledger
        self._broadcasts = broadcasts or Broadcasts(db)
        # Of a user id: how many are unread.
        self.count: Gather[str, int] = Gather(self._count, _COUNTS_MOST)
        # Of a user id: how many of those were not seen.
        self.count_unseen: Gather[str, int] = Gather(self._count_unseen, _COUNTS_MOST)

    async def _count(self, user_ids: list[str]) -> Sequence[int]:
        counts, shown = await asyncio.gather(self._rows(user_ids, {}), self._broadcasts.of_all(user_ids))
        return [
            min(counts.get(user_id, 0) + sum(one.unread for one in shown[user_id]), COUNTED_MOST)
            for user_id in user_ids
        ]

    async def _count_unseen(self, user_ids: list[str]) -> Sequence[int]:
        rows = self._rows(user_ids, {"unseen": True})
        counts, shown = await asyncio.gather(rows, self._broadcasts.of_all(user_ids))
        news = {user_id: sum(one.unseen for one in shown[user_id]) for user_id in shown}
        return [min(counts.get(user_id, 0) + news[user_id], COUNTED_MOST) for user_id in user_ids]

    async def _rows(self, user_ids: list[str], of_those: Document) -> dict[str, int]:
        first, *others = [_counting(user_id, of_those) for user_id in dict.fromkeys(user_ids)]
        together = ({"$unionWith": {"coll": self._ledger.name, "pipeline": one}} for one in others)
        found = await self._ledger.aggregate([*first, *together])
        return {row["_id"]: row["count"] async for row in found}


def _counting(user_id: str, of_those: Document) -> list[Document]:
    """Counts for one person. Each has a bound, which one count of all would not: somebody may have a million."""
    return [
        {"$match": {**unread(user_id), **of_those}},
        {"$limit": COUNTED_MOST},
        {"$group": {"_id": {"$literal": user_id}, "count": {"$sum": 1}}},
    ]
