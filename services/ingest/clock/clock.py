"""The clock: looks once a second for what was deferred and has come due, decides again, and releases it. Several
may run side by side: an update that finds the row changed does nothing. A process that dies between an update and
what follows from it leaves a delivery that is pending, which the sweeper finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from uuid import uuid4

from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import PyMongoError

from crown import failpoint, logs, metrics
from crown.bus import Bus, BusError
from crown.clock import now
from crown.errors import CrownError
from crown.notification.v1.types_pb2 import DeliveryState, Priority
from crown.people import People
from crown.preferences import Preferences
from crown.stopping import pause
from crown.store import Document, Store, insert_new
from crown.subjects import CHANNELS, LANES
from crown.vault import Key
from services.ingest.clock import releases
from services.ingest.clock.releases import Release
from services.ingest.clock.telling import Telling
from services.ingest.decide import Decision, Person, Waiting, again
from services.ingest.digest.builder import Digests
from services.ingest.dispatch.announcer import Announcer
from services.ingest.inbox.threads import Threads

log = logs.get(__name__)

_PERIOD_S = 1.0
# Rows that are released together, and how many such batches at a time.
_BATCH = 1_000
_BATCHES_AT_ONCE = 3
_PRIORITIES = {name: value for value, name in LANES.items()}
_CHANNEL_OF = {name: value for value, name in CHANNELS.items()}
# Of who chose nothing.
_NOBODY = Person()


class Clock:
    """Releases what is due in the lanes it is given."""

    def __init__(self, bus: Bus, store: Store, data_key: Key, lanes: Sequence[str]) -> None:
        self._ledger = store.db.ledger
        self._notifications = store.db.notifications
        self._contacts = store.db.contacts
        self._timeline = store.db.timeline
        self._preferences = Preferences(store.db)
        self._threads = Threads(store.db)
        self._telling = Telling(bus, People(store.db, data_key), data_key)
        self._digests = Digests(store.db, data_key, Announcer(bus, data_key), self.carry_out)
        self._lanes = [_PRIORITIES[lane] for lane in lanes]
        self._lateness = metrics.LATENESS.labels("deferred")

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set; each lane for itself, so that many of one hold up no other."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes:
                tasks.create_task(self._tend(lane, stopping))

    async def _tend(self, lane: Priority.Type.ValueType, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self.look(lane)
            except (PyMongoError, CrownError, BusError) as error:
                log.warning("clock_waits", error=type(error).__name__)
            await pause(stopping, _PERIOD_S)

    async def look(self, lane: Priority.Type.ValueType) -> int:
        """Releases all that is due in a lane now; answers how many rows that were."""
        count = 0
        under_way: set[asyncio.Task[int]] = set()
        try:
            async for rows in self._due(lane, now()):
                under_way.add(asyncio.create_task(self._try(rows)))
                if len(under_way) == _BATCHES_AT_ONCE:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    count += sum(task.result() for task in done)
            return count + sum(await asyncio.gather(*under_way))
        finally:
            # Where one failed, the others come to their end before the next look.
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _due(self, lane: Priority.Type.ValueType, moment: datetime) -> AsyncIterator[list[Document]]:
        """The rows that are due, the longest waiting first, in batches."""
        where = {"lane": lane, "wake_time": {"$lte": moment}}
        async with self._ledger.find(where).sort("wake_time", 1).hint("wake").batch_size(_BATCH) as cursor:
            while rows := await cursor.to_list(_BATCH):
                yield rows

    async def _try(self, rows: list[Document]) -> int:
        try:
            return await self.release(rows)
        except (PyMongoError, CrownError, BusError):
            raise
        except Exception:
            # A bug about one row must not hold up the others.
            log.exception("release_failed", count=len(rows))
            return sum([await self._try([row]) for row in rows]) if len(rows) > 1 else 0

    async def release(self, rows: list[Document]) -> int:
        """Decides again about what is due in these rows, and releases it; answers in how many rows."""
        moment = now()
        found = [row for row in rows if releases.due(row, moment)]
        await self._correct(rows)
        digests = releases.digests(rows, moment)
        if digests:
            await self._digests.send(digests, await self._persons({one.user_id for one in digests}), moment)
        if not found:
            return 0
        notifications = await self._load({row["notification_id"] for row in found})
        return len(await self._carry_out(await self._decide(found, notifications, moment), notifications))

    async def carry_out(self, made: list[Release]) -> None:
        """Writes what was decided into timeline and rows, and tells of it."""
        if made:
            await self._carry_out(made, await self._load({one.row["notification_id"] for one in made}))

    async def _carry_out(self, made: list[Release], notifications: Mapping[str, Document]) -> list[Release]:
        """As `carry_out`; answers those that nobody else was first with."""
        await self._assign([one.row for one in made if one.shows and "group" in one.row])
        await self._write(made)
        failpoint.reach("clock.before_update")
        won = await self._update(made)
        self._observe(won)
        failpoint.reach("clock.after_update")
        await self._threads.fold(
            {**one.row, "unread": True} for one in won if one.shows and "thread" in one.row
        )
        await self._telling.tell(won, notifications)
        failpoint.reach("clock.after_publish")
        return won

    async def _correct(self, rows: list[Document]) -> None:
        """Rows that say that something is due when nothing is: who took it away was stopped before it was said."""
        updates = []
        for row in rows:
            time = releases.wake_time(row["deliveries"])
            if time == row["wake_time"]:
                continue
            change = {"$unset": {"wake_time": ""}} if time is None else {"$set": {"wake_time": time}}
            updates.append(UpdateOne({"_id": row["_id"], "wake_time": row["wake_time"]}, change))
        if updates:
            await self._ledger.bulk_write(updates, ordered=False)

    async def _load(self, notification_ids: set[str]) -> dict[str, Document]:
        fields = {"content": 1, "webhook_url": 1, "cancel_time": 1}
        found = self._notifications.find({"_id": {"$in": list(notification_ids)}}, fields)
        return {row["_id"]: row async for row in found}

    async def _decide(
        self, rows: list[Document], notifications: Mapping[str, Document], moment: datetime
    ) -> list[Release]:
        persons = await self._persons({row["user_id"] for row in rows})
        # What is decided for whoever chose nothing, once for all that is alike.
        usual: dict[tuple[Waiting, bool], Decision] = {}

        def decided(row: Document, channel: str) -> Decision:
            if notifications.get(row["notification_id"], {}).get("cancel_time"):
                return Decision(_CHANNEL_OF[channel], DeliveryState.CANCELLED)
            waiting, read = _waiting(row, channel), _is_seen(row)
            person = persons.get(row["user_id"])
            if person is not None:
                return again(waiting, person, moment, read=read)
            if (waiting, read) not in usual:
                usual[waiting, read] = again(waiting, _NOBODY, moment, read=read)
            return usual[waiting, read]

        return [
            Release(row, {channel: decided(row, channel) for channel in releases.due(row, moment)}, moment)
            for row in rows
        ]

    async def _persons(self, user_ids: set[str]) -> dict[str, Person]:
        """Those of them who chose something."""
        choices = await self._preferences.choices(user_ids)
        clocked = [
            user_id
            for user_id, found in choices.items()
            if (found.quiet_hours or found.digests) and not found.time_zone
        ]
        zones = {}
        if clocked:
            rows = self._contacts.find({"_id": {"$in": clocked}}, {"time_zone": 1})
            zones = {row["_id"]: row.get("time_zone", "") async for row in rows}
        return {user_id: Person(user_id, found, zones.get(user_id, "")) for user_id, found in choices.items()}

    async def _assign(self, rows: list[Document]) -> None:
        """Gives rows that come into the inbox their thread, where they belong into one, as dispatch gives it to what
        is shown at once."""
        shown = [{**row, "unread": True} for row in rows]
        for row in shown:
            row.pop("hidden", None)
        await self._threads.assign(shown)
        for row, assigned in zip(rows, shown, strict=True):
            if "thread" in assigned:
                row["thread"] = assigned["thread"]

    async def _write(self, made: list[Release]) -> None:
        """Into the timeline, before the update: so no release goes untold. Where the update then finds the row
        changed, the next look decides anew, and its entry takes the place of this one."""
        entries = {entry["_id"]: entry for release in made for entry in releases.entries(release)}
        known = await insert_new(self._timeline, list(entries.values()))
        if known:
            again = [ReplaceOne({"_id": key}, entries[key], upsert=True) for key in known]
            await self._timeline.bulk_write(again, ordered=False)

    async def _update(self, made: list[Release]) -> list[Release]:
        """Updates the rows; answers the releases that were first."""
        mark = uuid4().hex
        changed = await self._ledger.bulk_write(releases.updates(made, mark), ordered=False)
        if changed.modified_count == len(made):
            return made
        where = {"_id": {"$in": [release.row["_id"] for release in made]}, "released": mark}
        won = {row["_id"] async for row in self._ledger.find(where, {"_id": 1})}
        return [release for release in made if release.row["_id"] in won]

    def _observe(self, won: list[Release]) -> None:
        present = now()
        for release in won:
            self._lateness.observe((present - release.row["wake_time"]).total_seconds())


def _waiting(row: Document, channel: str) -> Waiting:
    delivery = row["deliveries"][channel]
    return Waiting(
        _CHANNEL_OF[channel],
        row["category"],
        row["kind"],
        delivery["reason"],
        row["expire_time"],
        delivery.get("unless_read", False),
    )


def _is_seen(row: Document) -> bool:
    """Whether the person has read it, or has put it away, for which it was seen, too."""
    return bool(row.get("read_time") or row.get("archive_time") or row.get("delete_time"))
