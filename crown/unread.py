"""How many notifications a person has not read. Counted from an index each time, so that it cannot drift."""

from __future__ import annotations

from collections.abc import Sequence

from crown.gather import Gather
from crown.store import Database, Document

COUNTED_MOST = 10_000
# Of one person each; in one round trip.
_COUNTS_MOST = 100


def unread(user_id: str) -> Document:
    """A filter for what a person has not read, served by the index of unread entries."""
    return {"user_id": user_id, "unread": True, "hidden": None}


class Unread:
    """Counts in the ledger."""

    def __init__(self, db: Database) -> None:
        self._ledger = db.ledger
        # Of a user id: how many are unread; exact up to COUNTED_MOST, which is also the most it says.
        self.count: Gather[str, int] = Gather(self._count, _COUNTS_MOST)

    async def _count(self, user_ids: list[str]) -> Sequence[int]:
        first, *others = [_counting(user_id) for user_id in dict.fromkeys(user_ids)]
        together = ({"$unionWith": {"coll": self._ledger.name, "pipeline": one}} for one in others)
        found = await self._ledger.aggregate([*first, *together])
        counts = {row["_id"]: row["count"] async for row in found}
        return [counts.get(user_id, 0) for user_id in user_ids]


def _counting(user_id: str) -> list[Document]:
    """Counts for one person. Each has a bound, which one count of all would not: somebody may have a million."""
    return [
        {"$match": unread(user_id)},
        {"$limit": COUNTED_MOST},
        {"$group": {"_id": {"$literal": user_id}, "count": {"$sum": 1}}},
    ]
