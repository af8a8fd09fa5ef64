"""Which people were erased, and when: the marks that keep what was accepted before from bringing somebody back. A
mark is found by a keyed hash of the person, so that it says nothing of who they were once the erasing is done; it
stays for longer than anything that was accepted can wait.

A mark: {_id: keyed hash, time, user_id, next_time, passes}. All but the time stands in it only while there is work
left.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from crown.store import Database, Document
from crown.vault import Key

# More marks than that are not read for one look: each person is looked up then.
_MARKS_MOST = 1_000
# The reason that the deliveries of erased people are suppressed for.
ERASED = "ERASED"
# No person's id has an exclamation mark.
_PSEUDONYM = "erased!"


@dataclass(frozen=True, slots=True)
class Mark:
    """Work that an erasure has left. `passes` were made over the store so far."""

    id: str
    user_id: str
    time: datetime
    passes: int


class Erasures:
    """The marks in the store."""

    def __init__(self, db: Database, data_key: Key) -> None:
        self._rows = db.erasures
        self._key = hmac.digest(data_key.raw, b"erasures", "sha256")

    def _hash(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def id(self, user_id: str) -> str:
        """The id of the mark that this person has, or would have."""
        return self._hash(user_id)[:40]

    def pseudonym(self, notification_id: str, user_id: str) -> str:
        """What stands for an erased person in the books of one notification: another one in each, and the same for
        everybody who makes that entry."""
        return _PSEUDONYM + self._hash(f"{notification_id}/{user_id}")[:24]

    async def among(self, user_ids: Collection[str], since: datetime) -> dict[str, datetime]:
        """Those of these people who were erased at `since` or later, and when. Cheap where nobody was."""
        found = self._rows.find({"time": {"$gte": since}}, {"time": 1}).limit(_MARKS_MOST + 1)
        times = {row["_id"]: row["time"] async for row in found}
        if not times:
            return {}
        ids = {self.id(user_id): user_id for user_id in user_ids}
        if len(times) > _MARKS_MOST:
            named = self._rows.find({"_id": {"$in": list(ids)}, "time": {"$gte": since}}, {"time": 1})
            times = {row["_id"]: row["time"] async for row in named}
        return {ids[mark]: time for mark, time in times.items() if mark in ids}

    # -- the work

    async def put(self, user_id: str, time: datetime, next_time: datetime) -> Mark:
        """Notes that a person is erased as of `time`, and that somebody is to look for what is left at
        `next_time`."""
        fields: Document = {"time": time, "user_id": user_id, "next_time": next_time, "passes": 0}
        await self._rows.update_one({"_id": self.id(user_id)}, {"$set": fields}, upsert=True)
        return Mark(self.id(user_id), user_id, time, 0)

    async def due(self, moment: datetime, limit: int) -> list[Mark]:
        """Those with work left that somebody should do by now."""
        found = self._rows.find({"next_time": {"$lte": moment}}).sort("next_time", 1).limit(limit)
        return [Mark(row["_id"], row["user_id"], row["time"], row["passes"]) async for row in found]

    async def passed(self, mark: Mark, next_time: datetime) -> None:
        """One pass is made, and the next is due then."""
        await self._rows.update_one(
            {**_same(mark), "passes": mark.passes},
            {"$set": {"passes": mark.passes + 1, "next_time": next_time}},
        )

    async def put_off(self, mark: Mark, next_time: datetime) -> None:
        """The pass that is due broke off, and is made again then."""
        await self._rows.update_one(
            {**_same(mark), "next_time": {"$exists": True}}, {"$set": {"next_time": next_time}}
        )

    async def done(self, mark: Mark) -> None:
        """Nothing is left; the mark forgets who it was."""
        await self._rows.update_one(_same(mark), {"$unset": {"user_id": "", "next_time": "", "passes": ""}})


def is_pseudonym(user_id: str) -> bool:
    """Whether this stands for somebody who was erased."""
    return user_id.startswith(_PSEUDONYM)


def covers(erased: Mapping[str, datetime], user_id: str, time: datetime) -> bool:
    """Whether what was accepted for this person at `time` is erased."""
    erase_time = erased.get(user_id)
    return erase_time is not None and time <= erase_time


def _same(mark: Mark) -> Document:
    """Not the mark of a person of the same id who came, and was erased, since."""
    return {"_id": mark.id, "time": mark.time}
