"""Marks of broadcasts: what one person has done with what went to everybody. A mark of one is a document of its own;
a mark of all is a step in the person's one document, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from crown.broadcasts import Broadcasts, Shown
from crown.store import Database, Document

_DUPLICATE = 11_000
# Steps that are kept: each was made when there was a new broadcast, and those do not live for ever.
_STEPS_MOST = 1_000
# In a document of one broadcast: that it is not so, whatever holds for all.
_NOT_SO: Document = {"$type": "null"}
_SO_OR_UNSAID: Document = {"$not": _NOT_SO}


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a mark does to broadcasts."""

    # Which are not yet so.
    wanting: Callable[[Shown], bool]
    # The times that it sets, the first of them always, the others where there are none; or takes back.
    times: tuple[str, ...]
    takes_back: tuple[str, ...] = ()


# By the event that sockets hear.
_RULES: Mapping[str, _Rule] = {
    "read": _Rule(lambda one: one.read_time is None, ("read", "seen")),
    "unread": _Rule(
        lambda one: one.read_time is not None and one.archive_time is None, (), takes_back=("read",)
    ),
    "seen": _Rule(lambda one: one.seen_time is None, ("seen",)),
    "archived": _Rule(lambda one: one.archive_time is None, ("archive", "read", "seen")),
    # One that was in the archive when all others were deleted stays.
    "unarchived": _Rule(lambda one: one.archive_time is not None, (), takes_back=("archive", "delete")),
    "deleted": _Rule(lambda _: True, ("delete", "read", "seen")),
}


class BroadcastMarks:
    """Marks in the store."""

    def __init__(self, db: Database, broadcasts: Broadcasts) -> None:
        self._marks = db.broadcast_marks
        self._broadcasts = broadcasts

    async def has(self, user_id: str, notification_id: str) -> bool:
        """Whether it is a broadcast that this person has."""
        shown = await self._broadcasts.of(user_id)
        return any(one.broadcast.notification_id == notification_id for one in shown)

    async def mark(
        self, event: str, user_id: str, notification_ids: Sequence[str], moment: datetime
    ) -> list[str]:
        """Marks those of the notifications that are broadcasts. Answers the ids of what changed."""
        wanted = set(notification_ids)
        shown = await self._broadcasts.of(user_id)
        named = [one for one in shown if one.broadcast.notification_id in wanted]
        return await self._mark_each(event, user_id, named, moment)

    async def mark_all(self, event: str, user_id: str, moment: datetime) -> int:
        """Marks all in the inbox, or for "unarchived" in the archive. Answers how many changed."""
        rule = _RULES[event]
        shown = await self._broadcasts.of(user_id)
        if event != "unarchived":
            shown = [one for one in shown if one.archive_time is None]
        wanting = [one for one in shown if rule.wanting(one)]
        if not rule.times:
            return len(await self._mark_each(event, user_id, wanting, moment))
        if not wanting:
            return 0
        through = max(one.number for one in await self._broadcasts.live())
        main = rule.times[0]
        step = {"$each": [{"through": through, "time": moment}], "$slice": -_STEPS_MOST}
        where = {"_id": user_id, f"{main}.through": {"$not": {"$gte": through}}}
        change = {"$push": dict.fromkeys(rule.times, step), "$set": {"user_id": user_id}}
        taken = await self._said_otherwise(rule, user_id, moment)
        try:
            await self._marks.update_one(where, change, upsert=True)
        except DuplicateKeyError:
            return taken  # the step stands
        plain = [one for one in wanting if not one.marks.is_said(main, one.broadcast)]
        return taken + len(plain)

    async def _said_otherwise(self, rule: _Rule, user_id: str, moment: datetime) -> int:
        """Marks those that are said not to be so, for which what holds for all does not."""
        changed = 0
        for number, what in enumerate(rule.times):
            where: Document = {"user_id": user_id, f"{what}_time": _NOT_SO}
            if rule.times[0] == "delete":
                where["archive_time"] = {"$in": [None]}
            done = await self._marks.update_many(where, {"$set": {f"{what}_time": moment}})
            changed += 0 if number else done.modified_count
        return changed

    async def _mark_each(
        self, event: str, user_id: str, named: Sequence[Shown], moment: datetime
    ) -> list[str]:
        rule = _RULES[event]
        wanting = [one for one in named if rule.wanting(one)]
        if not wanting:
            return []
        updates = [_update(rule, user_id, one, moment) for one in wanting]
        lost: set[int] = set()
        try:
            await self._marks.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            problems = (error.details or {}).get("writeErrors", [])
            if not problems or any(problem["code"] != _DUPLICATE for problem in problems):
                raise
            # Somebody else was first with these.
            lost = {problem["index"] for problem in problems}
        return [one.broadcast.notification_id for at, one in enumerate(wanting) if at not in lost]


def _update(rule: _Rule, user_id: str, one: Shown, moment: datetime) -> UpdateOne:
    """Marks one, where nobody has meanwhile: then it inserts, and finds that the document is there."""
    main, *others = rule.times or rule.takes_back
    fields: Document = {f"{what}_time": None for what in rule.takes_back}
    if rule.times:
        fields = {f"{what}_time": moment for what in others if one.marks.time(what, one.broadcast) is None}
        fields[f"{main}_time"] = moment
    still = None if rule.times else _SO_OR_UNSAID
    return UpdateOne(
        {"_id": f"{user_id}/{one.broadcast.notification_id}", f"{main}_time": still},
        {"$set": {**fields, "user_id": user_id, "retire_time": one.broadcast.retire_time}},
        upsert=True,
    )
