"""Broadcasts: notifications to everybody, each written once and merged in when a person's inbox is read.

A broadcast: {_id: <notification>, number, after, kind, category, channels, create_time, retire_time, wrapped_key}.
Broadcasts are numbered in the order in which they are seen: `after` is the number of the one before it, and no two
have the same, so that whoever sees one sees all with lower numbers. `wrapped_key` is the content's key under the
deployment's data key: it is nobody's own. From `retire_time` on it is in nobody's inbox, and the store deletes it.

What one person marked: {_id: "<user>/<notification>", user_id, retire_time, read_time, seen_time, archive_time,
delete_time}; a field that is null says that it is not so, whatever holds for all. What they marked as a whole: {_id:
"<user>", user_id, read: [{through, time}, …], seen: […], archive: […], delete: […]}: each step holds for the
broadcasts up to a number.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from pymongo.asynchronous.collection import AsyncCollection

from crown.choices import NOTHING, Choices, refusal
from crown.clock import now
from crown.gather import Gather
from crown.notification.v1.types_pb2 import Category, Channel
from crown.preferences import Preferences
from crown.store import Database, Document

# Only so many are merged, the newest; they are held in memory by each process that reads inboxes.
LIVE_MOST = 1_000
# Seconds after which one that was withdrawn is seen no longer. A new one is seen at once.
_KEPT_S = 1.0
# The event that says that inboxes have changed, and nothing else.
NEWS = "inbox"
_FIELDS = ("_id", "number", "kind", "category", "channels", "create_time", "retire_time", "wrapped_key")


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One that is in inboxes."""

    notification_id: str
    number: int
    kind: str
    category: Category.Type.ValueType
    channels: Sequence[Channel.Type.ValueType]
    create_time: datetime
    retire_time: datetime
    wrapped_key: bytes

    @property
    def place(self) -> tuple[datetime, str]:
        """Where it stands among the entries of an inbox."""
        return self.create_time, self.notification_id


def shown(broadcast: Broadcast, choices: Choices) -> bool:
    """Whether a person with these choices has it in the inbox: in_app decides where it was asked for."""
    channel = Channel.IN_APP if Channel.IN_APP in broadcast.channels else Channel.REAL_TIME
    return not refusal(choices, broadcast.category, channel)


@dataclass(frozen=True, slots=True)
class Marks:
    """What one person marked: broadcasts by id, and all of them."""

    each: Mapping[str, Document] = field(default_factory=dict)
    all: Document = field(default_factory=dict)

    def time(self, what: str, broadcast: Broadcast) -> datetime | None:
        """When the person made it `read`, `seen`, `archive` or `delete`; None where it is not so."""
        if self.is_said(what, broadcast):
            found: datetime | None = self.each[broadcast.notification_id][f"{what}_time"]
            return found
        steps = self.all.get(what, ())
        times = (step["time"] for step in steps if step["through"] >= broadcast.number)
        if what == "delete":
            # What stood in the archive then is not meant.
            archived = self.time("archive", broadcast)
            times = (time for time in times if archived is None or archived > time)
        return next(times, None)

    def is_said(self, what: str, broadcast: Broadcast) -> bool:
        """Whether the person said so of this one, and not of all."""
        return f"{what}_time" in self.each.get(broadcast.notification_id, {})


_NO_MARKS = Marks()


@dataclass(frozen=True, slots=True)
class Shown:
    """A broadcast as it stands in one person's inbox."""

    broadcast: Broadcast
    marks: Marks

    @property
    def place(self) -> tuple[datetime, str]:
        """See Broadcast."""
        return self.broadcast.place

    @property
    def read_time(self) -> datetime | None:
        """When it was read."""
        return self.marks.time("read", self.broadcast)

    @property
    def seen_time(self) -> datetime | None:
        """When it was seen."""
        return self.marks.time("seen", self.broadcast)

    @property
    def archive_time(self) -> datetime | None:
        """When it was put away."""
        return self.marks.time("archive", self.broadcast)

    @property
    def unread(self) -> bool:
        """Whether it counts as unread."""
        # Most people marked nothing.
        return self.marks is _NO_MARKS or self.read_time is None

    @property
    def unseen(self) -> bool:
        """Whether it counts as unseen."""
        return self.marks is _NO_MARKS or (self.read_time is None and self.seen_time is None)


class Broadcasts:
    """The broadcasts that are in inboxes, in the store. Who asks pays for one look at an index; while there are
    none, for nothing else."""

    def __init__(self, db: Database) -> None:
        self._broadcasts = db.broadcasts
        self._marks = db.broadcast_marks
        self._preferences = Preferences(db)
        self._newest: Gather[None, int] = Gather(self._ask_newest, most=10_000, parallel=1)
        self._live: list[Broadcast] = []
        self._number = 0
        self._read_s = -_KEPT_S

    async def newest(self) -> int:
        """The number of the newest, 0 where there is none."""
        return await self._newest(None)

    async def live(self) -> list[Broadcast]:
        """Those in inboxes at this moment, the newest first."""
        number = await self.newest()
        if number != self._number or time.monotonic() - self._read_s > _KEPT_S:
            await self._read(number)
        present = now()
        return [one for one in self._live if one.retire_time > present]

    async def of(self, user_id: str) -> list[Shown]:
        """Those in one person's inbox, the newest first."""
        return (await self.of_all([user_id]))[user_id]

    async def of_all(self, user_ids: Collection[str]) -> dict[str, list[Shown]]:
        """The same of several people."""
        live = await self.live()
        if not live:
            return {user_id: [] for user_id in user_ids}
        choices, marks = await asyncio.gather(
            self._preferences.choices(user_ids), marks_of(self._marks, user_ids)
        )
        return {
            user_id: _in_inbox(live, choices.get(user_id, NOTHING), marks.get(user_id, _NO_MARKS))
            for user_id in user_ids
        }

    async def _ask_newest(self, asked: list[None]) -> Sequence[int]:
        return [await newest(self._broadcasts)] * len(asked)

    async def _read(self, number: int) -> None:
        # Before the question: what is written meanwhile is read again.
        read_s = time.monotonic()
        fields = dict.fromkeys(_FIELDS, 1)
        where = {"retire_time": {"$gt": now()}}
        cursor = self._broadcasts.find(where, fields).sort("number", -1).limit(LIVE_MOST)
        found = [_broadcast(row) async for row in cursor]
        self._live = sorted(found, key=attrgetter("place"), reverse=True)
        self._number, self._read_s = number, read_s


async def newest(broadcasts: AsyncCollection[Document]) -> int:
    """The number of the newest broadcast, 0 where there is none; read from an index."""
    row = await broadcasts.find_one({}, {"number": 1, "_id": 0}, sort=[("number", -1)])
    return int(row["number"]) if row else 0


async def marks_of(marks: AsyncCollection[Document], user_ids: Collection[str]) -> dict[str, Marks]:
    """What these people marked, of those who marked something."""
    each: dict[str, dict[str, Document]] = {}
    whole: dict[str, Document] = {}
    async for row in marks.find({"user_id": {"$in": list(user_ids)}}):
        user_id, slash, notification_id = row["_id"].partition("/")
        if slash:
            each.setdefault(user_id, {})[notification_id] = row
        else:
            whole[user_id] = row
    return {user_id: Marks(each.get(user_id, {}), whole.get(user_id, {})) for user_id in {*each, *whole}}


def _in_inbox(live: list[Broadcast], choices: Choices, marks: Marks) -> list[Shown]:
    # Of a thousand broadcasts, few differ in what choices say of them.
    wanted: dict[tuple[int, bool], bool] = {}
    found = []
    for one in live:
        alike = (one.category, Channel.IN_APP in one.channels)
        if alike not in wanted:
            wanted[alike] = shown(one, choices)
        if wanted[alike] and (marks is _NO_MARKS or marks.time("delete", one) is None):
            found.append(Shown(one, marks))
    return found


def _broadcast(row: Document) -> Broadcast:
    return Broadcast(
        row["_id"],
        row["number"],
        row["kind"],
        row["category"],
        tuple(row["channels"]),
        row["create_time"],
        row["retire_time"],
        row["wrapped_key"],
    )
