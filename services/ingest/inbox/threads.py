"""Threads: what is unread of one person, sender and group is one entry. The newest row of a thread stands for it, and
the others are folded: neither listed nor counted. A thread is open until its entry is read, archived or deleted.

The document of an open thread is removed before the rows are marked; so a row that is written meanwhile is either
marked with the others, or finds that its thread is closed and goes over to a new one. Folding takes the older rows
of a thread alone, so that whoever folds last, or again, comes to the same end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import uuid4

from pymongo import UpdateMany

from crown.clock import now
from crown.store import Database, Document, insert_new

# Turns in which rows look for a thread that stays open.
_TURNS_MOST = 5
_FOLDED: Document = {"$set": {"shelf": "folded"}, "$unset": {"unread": "", "unseen": ""}}
_IS_NEWS = {"$cond": [{"$lte": ["$read_time", None]}, True, "$$REMOVE"]}
_UNFOLDED: list[Document] = [{"$set": {"shelf": "$$REMOVE", "unread": _IS_NEWS, "unseen": _IS_NEWS}}]


class Threads:
    """The open threads, and the rows in them."""

    def __init__(self, db: Database) -> None:
        self._ledger = db.ledger
        self._threads = db.threads

    async def assign(self, rows: Iterable[Document]) -> None:
        """Gives the rows that belong into one their thread, before they are written. Rows that share a group share
        it. Costs nothing where there are no such rows."""
        grouped = [row for row in rows if "group" in row and "unread" in row and "hidden" not in row]
        if not grouped:
            return
        threads = await self._open({_key(row) for row in grouped})
        for row in grouped:
            row["thread"] = threads[_key(row)]

    async def fold(self, rows: Iterable[Document]) -> None:
        """Folds the threads of rows that are written, new ones and known ones: each has one entry then."""
        grouped = [row for row in rows if "thread" in row and "unread" in row]
        if not grouped:
            return
        await self._leave_closed(grouped)
        newest = await self._newest(list({row["thread"] for row in grouped}))
        older = [UpdateMany(_older(head), _FOLDED) for head in newest]
        if older and (await self._ledger.bulk_write(older, ordered=False)).modified_count:
            await self._mend(await self._left({head["row"]: head["_id"] for head in newest}))

    async def heads(self, threads: Sequence[str], fields: Document) -> list[Document]:
        """The rows that stand for these threads. Where there are several of one, since their writer has not come
        to folding them, it is done here: marked one by one, they would stay several."""
        where = {"thread": {"$in": list(threads)}, "shelf": {"$ne": "folded"}, "delete_time": None}
        found = self._ledger.find(where, fields).sort([("create_time", 1), ("_id", 1)])
        rows = [row async for row in found]
        newest = {row["thread"]: row for row in rows}
        older = [row["_id"] for row in rows if newest[row["thread"]] is not row]
        if older:
            await self._ledger.update_many({"_id": {"$in": older}, "thread": {"$in": list(threads)}}, _FOLDED)
            await self._mend(await self._left({row["_id"]: row["thread"] for row in newest.values()}))
        return list(newest.values())

    async def close(self, rows: Sequence[Document]) -> None:
        """Closes the threads of these rows, those that are still open."""
        where = {
            "_id": {"$in": [_key(row) for row in rows if "thread" in row]},
            "thread": {"$in": [row["thread"] for row in rows if "thread" in row]},
        }
        await self._threads.delete_many(where)

    async def _open(self, keys: set[str]) -> dict[str, str]:
        """The open thread of each key; a new one where there is none."""
        found = await self._find(keys)
        while missing := keys - found.keys():
            moment = now()
            # An id of its own: what is read stays under the old one, whatever comes again.
            made: list[Document] = [{"_id": key, "thread": uuid4().hex, "time": moment} for key in missing]
            lost = await insert_new(self._threads, made)
            found.update((one["_id"], one["thread"]) for one in made if one["_id"] not in lost)
            found.update(await self._find(lost))
        return found

    async def _find(self, keys: Iterable[str]) -> dict[str, str]:
        wanted = list(keys)
        if not wanted:
            return {}
        return {one["_id"]: one["thread"] async for one in self._threads.find({"_id": {"$in": wanted}})}

    async def _leave_closed(self, rows: list[Document]) -> None:
        """Moves rows whose thread was closed before they were written, and are unread, into one that is open."""
        for _ in range(_TURNS_MOST):
            opened = await self._find({_key(row) for row in rows})
            late = [row for row in rows if opened.get(_key(row)) != row["thread"]]
            if not late:
                return
            into = await self._open({_key(row) for row in late})
            moves = [
                UpdateMany(
                    {"_id": row["_id"], "thread": row["thread"], "unread": True, "read_time": None},
                    {"$set": {"thread": into[_key(row)]}},
                )
                for row in late
            ]
            moved = await self._ledger.bulk_write(moves, ordered=False)
            if moved.modified_count:
                await self._mend({row["thread"] for row in late})
            for row in late:
                row["thread"] = into[_key(row)]

    async def _left(self, heads: Mapping[str, str]) -> set[str]:
        """The threads, by their newest row, whose newest row has gone over to another one since."""
        found = self._ledger.find({"_id": {"$in": list(heads)}}, {"thread": 1})
        now_in = {row["_id"]: row["thread"] async for row in found}
        return {thread for row, thread in heads.items() if now_in.get(row) != thread}

    async def _mend(self, threads: Iterable[str]) -> None:
        """Puts the newest row of each back into the list, where it was folded into one that has left. Whoever folds
        looks after that whether its newest row has left, and whoever leaves looks after that what was folded: so
        one of two who do it at once sees it."""
        for thread in threads:
            where = {"thread": thread, "unread": {"$in": [None, True]}}
            newest = await self._ledger.find_one(where, {"shelf": 1}, sort=[("create_time", -1), ("_id", -1)])
            if newest and newest.get("shelf") == "folded":
                still = {"_id": newest["_id"], "thread": thread, "shelf": "folded"}
                await self._ledger.update_one(still, _UNFOLDED)

    async def _newest(self, threads: list[str]) -> list[Document]:
        """Of each thread that has unread rows, the newest."""
        pipeline: list[Document] = [
            {"$match": {"thread": {"$in": threads}, "unread": True}},
            {"$sort": {"thread": 1, "unread": 1, "create_time": -1, "_id": -1}},
            {
                "$group": {
                    "_id": "$thread",
                    "create_time": {"$first": "$create_time"},
                    "row": {"$first": "$_id"},
                }
            },
        ]
        return [one async for one in await self._ledger.aggregate(pipeline)]


def _key(row: Document) -> str:
    """Whose thread, and about what."""
    return f"{row['user_id']}/{row['sender']}/{row['group'].hex()}"


def _older(head: Document) -> Document:
    """A filter for the unread rows that a thread's newest one stands for."""
    return {
        "thread": head["_id"],
        "unread": True,
        "create_time": {"$lte": head["create_time"]},
        "$or": [
            {"create_time": {"$lt": head["create_time"]}},
            {"_id": {"$lt": head["row"]}},
        ],
    }
