"""Groups and chats, and who is in them. A deleted group stays as a mark until its memberships are taken out, a
slice at a time. A membership counts where it is not older than its group, so what a deleted group of the same
name has left behind makes nobody a member."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from crown.clock import now
from crown.gather import Gather
from crown.store import Database, Document, insert_new

KINDS = ("group", "chat")
# Memberships that are removed in one step.
_SLICE = 5_000
_STANDING: Document = {"delete_time": None}
_DELETED: Document = {"delete_time": {"$exists": True}}


@dataclass(frozen=True, slots=True)
class Group:
    """One group; `kind` is one of KINDS."""

    group_id: str
    kind: str
    client_events: bool
    create_time: datetime

    @property
    def topic(self) -> str:
        """What its members' sockets join."""
        return f"{self.kind}:{self.group_id}"


@dataclass(frozen=True, slots=True)
class Member:
    """One person of a group."""

    user_id: str
    join_time: datetime


class Groups:
    """Groups and memberships in the store. Never cached: who is removed is out at once."""

    def __init__(self, db: Database) -> None:
        self._groups = db.groups
        self._members = db.members
        # Of (group id, user id): the group where the person is a member, else None.
        self.membership: Gather[tuple[str, str], Group | None] = Gather(self._memberships)

    async def group(self, group_id: str) -> Group | None:
        """The group; None where there is none."""
        row = await self._groups.find_one({"_id": group_id, **_STANDING})
        return _group(row) if row else None

    # -- groups

    async def put(self, group_id: str, kind: str, client_events: bool) -> Group:
        """Makes a group, or replaces what one is, and answers what stands. One of another kind is left as it
        is: compare."""
        made = Group(group_id, kind, client_events, now())
        with suppress(DuplicateKeyError):  # it stands already
            await self._groups.replace_one({"_id": group_id, **_DELETED}, _row(made), upsert=True)
        row = await self._groups.find_one_and_update(
            {"_id": group_id, "kind": kind, **_STANDING},
            {"$set": {"client_events": client_events}},
            return_document=ReturnDocument.AFTER,
        )
        if row is not None:
            return _group(row)
        # Where it is gone by now, it was deleted after it was made.
        return await self.group(group_id) or made

    async def delete(self, group_id: str) -> Group | None:
        """From here on there is no such group. Answers what it was; None where there was none. `clear` takes
        the memberships out."""
        row = await self._groups.find_one_and_update({"_id": group_id}, {"$set": {"delete_time": now()}})
        return _group(row) if row else None

    async def deleted(self, limit: int) -> list[str]:
        """Groups that are deleted and not cleared yet."""
        return [row["_id"] async for row in self._groups.find(_DELETED, {"_id": 1}).limit(limit)]

    async def clear(self, group_id: str, within_s: float) -> bool:
        """Takes the memberships of a deleted group out of the store, for `within_s` seconds or a little longer.
        True where none is left; then nothing is known of the group any more."""
        row = await self._groups.find_one({"_id": group_id, **_DELETED})
        if row is None:
            return True
        # Not those of a group that is made under this name meanwhile.
        old = {"group_id": group_id, "join_time": {"$lte": row["delete_time"]}}
        limit = time.monotonic() + within_s
        while time.monotonic() < limit:
            part = [found["_id"] async for found in self._members.find(old, {"_id": 1}).limit(_SLICE)]
            await self._members.delete_many({"_id": {"$in": part}, **old})
            if len(part) < _SLICE:
                await self._groups.delete_one({"_id": group_id, "delete_time": row["delete_time"]})
                return True
        return False

    # -- members

    async def add(self, group: Group, user_ids: Collection[str]) -> int:
        """Adds people, and answers how many were not in before."""
        moment = max(now(), group.create_time)
        rows = [
            {"_id": _member_id(group.group_id, user_id), "group_id": group.group_id, "user_id": user_id}
            | {"join_time": moment}
            for user_id in dict.fromkeys(user_ids)
        ]
        known = await insert_new(self._members, rows)
        return len(rows) - len(known) + (await self._add_again(group, known, moment) if known else 0)

    async def _add_again(self, group: Group, member_ids: Collection[str], moment: datetime) -> int:
        """Makes members of those who are only left over."""
        left_over = {"_id": {"$in": list(member_ids)}, "join_time": {"$lt": group.create_time}}
        changed = await self._members.update_many(left_over, {"$set": {"join_time": moment}})
        return changed.modified_count

    async def remove(self, group: Group, user_ids: Collection[str]) -> int:
        """Removes people, and answers how many were in before."""
        wanted = [_member_id(group.group_id, user_id) for user_id in user_ids]
        found = await self._members.delete_many({"_id": {"$in": wanted}, **_counting(group)})
        return found.deleted_count

    async def members(self, group: Group, limit: int, after: str = "") -> list[Member]:
        """Up to `limit` members, ordered by user id, from the one after `after` on."""
        where = {"group_id": group.group_id, "user_id": {"$gt": after}, **_counting(group)}
        found = self._members.find(where).sort("user_id", 1).limit(limit)
        return [Member(row["user_id"], row["join_time"]) async for row in found]

    async def user_ids(self, group: Group, limit: int, after: str = "") -> list[str]:
        """Those of `members`, and nothing else of them."""
        where = {"group_id": group.group_id, "user_id": {"$gt": after}, **_counting(group)}
        found = self._members.find(where, {"_id": 0, "user_id": 1}).sort("user_id", 1).limit(limit)
        return [row["user_id"] for row in await found.to_list()]

    async def among(self, group_id: str, user_ids: Collection[str], since: datetime) -> set[str]:
        """Those of `user_ids` who have been members since then; nobody where there is no such group."""
        group = await self.group(group_id)
        if group is None:
            return set()
        joined = await self._joined([_member_id(group_id, user_id) for user_id in user_ids])
        start = len(_member_id(group_id, ""))
        return {
            member_id[start:]
            for member_id, join_time in joined.items()
            if group.create_time <= join_time <= since
        }

    async def _memberships(self, pairs: list[tuple[str, str]]) -> Sequence[Group | None]:
        groups, joined = await asyncio.gather(
            self._find({group_id for group_id, _ in pairs}),
            self._joined({_member_id(*pair) for pair in pairs}),
        )
        return [_where(groups.get(pair[0]), joined.get(_member_id(*pair))) for pair in pairs]

    async def _find(self, group_ids: Collection[str]) -> dict[str, Group]:
        found = self._groups.find({"_id": {"$in": list(group_ids)}, **_STANDING})
        return {row["_id"]: _group(row) async for row in found}

    async def _joined(self, member_ids: Collection[str]) -> dict[str, datetime]:
        found = self._members.find({"_id": {"$in": list(member_ids)}}, {"join_time": 1})
        return {row["_id"]: row["join_time"] async for row in found}


def _member_id(group_id: str, user_id: str) -> str:
    """The id of a membership. Neither id has a slash, so that no two pairs give the same."""
    return f"{group_id}/{user_id}"


def _counting(group: Group) -> Document:
    """A filter for memberships of this group, and not of one of the same name before it."""
    return {"join_time": {"$gte": group.create_time}}


def _where(group: Group | None, join_time: datetime | None) -> Group | None:
    """The group, where who joined then is in it."""
    if group is None or join_time is None or join_time < group.create_time:
        return None
    return group


def _row(group: Group) -> Document:
    return {
        "_id": group.group_id,
        "kind": group.kind,
        "client_events": group.client_events,
        "create_time": group.create_time,
    }


def _group(row: Document) -> Group:
    return Group(row["_id"], row["kind"], row["client_events"], row["create_time"])
