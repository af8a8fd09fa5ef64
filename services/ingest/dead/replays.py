"""Replays of many dead letters: what operators ask for, written down, and who carries it on. A replay goes through
its letters from the oldest to the newest, a few at a time and so many a second, and notes after each few where it
is. Who carries one on holds a lease; it lapses with its process, and another goes on from the note. Letters that
were worked on after the last note are found done.

A replay: {_id, filter, per_second, by, state, matched, replayed, skipped, at, create_time, update_time, takes,
lease, lease_until}. `filter` is a serialized DeadLetterFilter, and of what fits it those letters count that were
given up before the replay began: what is given up once more stays for people to look at. `at` is the last letter
that was worked on, `takes` how often somebody took it up."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import datetime, timedelta
from uuid import uuid4

from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from crown import logs
from crown.bus import Bus, BusError
from crown.clock import now, timestamp
from crown.errors import CrownError
from crown.notification.v1 import dead_letter_service_pb2 as pb
from crown.notification.v1.types_pb2 import DeadLetterState, Priority
from crown.stopping import pause
from crown.store import Database, Document, Store, insert_new
from services.ingest.dead.letter import OLDEST_FIRST, WITHOUT_BODY, matching, newer
from services.ingest.dead.replay import STALE, Order, Replayer

log = logs.get(__name__)

PER_SECOND = 50
RUNNING, DONE, CANCELLED = "RUNNING", "DONE", "CANCELLED"
# Seconds that a replay stays with a process that says nothing, by the store's clock. Each few letters renew it.
LEASE_S = 5.0
# A second's letters are worked on in so many parts, so that they do not come in bursts.
_PARTS = 5
# Replays that one process carries on at once.
_AT_ONCE = 4
_PERIOD_S = 1.0
_PAUSE_S = 2.0


class Replays:
    """The replays in the store, for operators."""

    def __init__(self, db: Database) -> None:
        self._replays = db.replays
        self._letters = db.dead_letters

    async def begin(self, request: pb.ReplayDeadLettersRequest, by: str) -> pb.Replay:
        """Writes a replay down for the operator `by`; one with this id stays as it is. With dry_run it only says
        how many letters there are. Raises InvalidRequest."""
        where, moment = matching(request.filter), now()
        known = None if request.dry_run else await self._replays.find_one({"_id": request.replay_id})
        if known is not None:
            return told(known)
        matched = await self._letters.count_documents(_until(where, moment))
        if request.dry_run:
            return pb.Replay(matched=matched)
        document: Document = {
            "_id": request.replay_id or str(uuid4()),
            "filter": request.filter.SerializeToString(),
            "per_second": request.per_second if request.HasField("per_second") else PER_SECOND,
            "by": by,
            "state": RUNNING,
            "matched": matched,
            "replayed": 0,
            "skipped": 0,
            "create_time": moment,
            "update_time": moment,
        }
        if await insert_new(self._replays, [document]):
            return await self.find(document["_id"]) or told(document)
        log.info("replay_began", replay_id=document["_id"], operator=by, matched=matched)
        return told(document)

    async def find(self, replay_id: str) -> pb.Replay | None:
        """The replay; None where there is none."""
        row = await self._replays.find_one({"_id": replay_id})
        return None if row is None else told(row)

    async def cancel(self, replay_id: str, by: str) -> pb.Replay | None:
        """Ends a replay where it is; the few letters that are being worked on may still be sent. One that has
        ended stays as it is; None where there is none."""
        changed = await self._replays.update_one(
            {"_id": replay_id, "state": RUNNING}, {"$set": {"state": CANCELLED, "update_time": now()}}
        )
        if changed.modified_count:
            log.info("replay_cancelled", replay_id=replay_id, operator=by)
        return await self.find(replay_id)


class Carrier:
    """Carries on what runs and nobody carries."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._replays = store.db.replays
        self._letters = store.db.dead_letters
        self._replayer = Replayer(bus, store.db)

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        async with asyncio.TaskGroup() as tasks:
            busy: set[asyncio.Task[None]] = set()
            while not stopping.is_set():
                found = await self._take() if len(busy) < _AT_ONCE else None
                if found is None:
                    await pause(stopping, _PERIOD_S)
                    continue
                task = tasks.create_task(self._carry(found, stopping))
                busy.add(task)
                task.add_done_callback(busy.discard)

    async def _take(self) -> Document | None:
        """A replay that runs and that nobody carries on any more; it is ours from now on."""
        free = {"state": RUNNING, "$expr": {"$lt": ["$lease_until", "$$NOW"]}}
        takes = {"$add": [{"$ifNull": ["$takes", 0]}, 1]}
        ours = [{"$set": {"lease": str(uuid4()), "lease_until": _lease(), "takes": takes}}]
        try:
            found = await self._replays.find_one_and_update(
                free, ours, sort=[("create_time", 1)], return_document=ReturnDocument.AFTER
            )
            if found is not None:
                await self._recount(found)
        except PyMongoError as error:
            log.warning("replays_wait", error=type(error).__name__)
            return None
        return found

    async def _recount(self, replay: Document) -> None:
        """Who carried it on before may have died between letters and their note."""
        letters = {"replay_id": replay["_id"]}
        done = {**letters, "state": DeadLetterState.REPLAYED}
        replayed = await self._letters.count_documents(done)
        skipped = await self._letters.count_documents(letters) - replayed
        await self._replays.update_one(
            {"_id": replay["_id"], "lease": replay["lease"]},
            {"$set": {"replayed": replayed, "skipped": skipped}},
        )
        log.info("replay_taken", replay_id=replay["_id"], replayed=replayed)

    async def _carry(self, replay: Document, stopping: asyncio.Event) -> None:
        """Goes on with a replay until it is done, or somebody else's."""
        due = time.monotonic()
        while not stopping.is_set():
            try:
                count = await self._part(replay)
            except (PyMongoError, CrownError, BusError) as error:
                log.warning("replay_waits", replay_id=replay["_id"], error=type(error).__name__)
                await pause(stopping, _PAUSE_S)
                continue
            except Exception:
                # A bug of ours: the next to take it over may have a version without it.
                log.exception("replay_failed", replay_id=replay["_id"])
                return
            if not count:
                return
            # What was late stays late: catching up would be a burst.
            due = max(due + count / replay["per_second"], time.monotonic())
            await pause(stopping, due - time.monotonic())
        await self._give_back(replay)

    async def _part(self, replay: Document) -> int:
        """Replays the next few letters, and answers how many they were; 0: there is nothing left to do here."""
        most = math.ceil(replay["per_second"] / _PARTS)
        found = self._letters.find(_left(replay), WITHOUT_BODY).sort(OLDEST_FIRST).limit(most)
        letters = [letter async for letter in found]
        if not letters:
            await self._end(replay)
            return 0
        refused = await self._replayer.replay(letters, _order(replay))
        if refused:
            skipped = {"_id": {"$in": list(refused)}}
            await self._letters.update_many(skipped, {"$set": {"replay_id": replay["_id"]}})
        replay["settled_in"] = True
        replay["at"] = {"time": letters[-1]["create_time"], "id": letters[-1]["_id"]}
        return len(letters) if await self._note(replay, len(letters), len(refused)) else 0

    async def _note(self, replay: Document, worked_on: int, skipped: int) -> bool:
        """Notes where the replay is. False where it is no longer ours to carry on."""
        note = {
            "at": replay["at"],
            "replayed": {"$add": ["$replayed", worked_on - skipped]},
            "skipped": {"$add": ["$skipped", skipped]},
            "update_time": now(),
            "lease_until": _lease(),
        }
        found = await self._replays.find_one_and_update(
            {"_id": replay["_id"], "lease": replay["lease"]}, [{"$set": note}], projection={"state": 1}
        )
        return found is not None and found["state"] == RUNNING

    async def _end(self, replay: Document) -> None:
        ours = {"_id": replay["_id"], "lease": replay["lease"], "state": RUNNING}
        ended = await self._replays.update_one(ours, {"$set": {"state": DONE, "update_time": now()}})
        if ended.modified_count:
            log.info("replay_done", replay_id=replay["_id"])

    async def _give_back(self, replay: Document) -> None:
        """Who takes it over need not wait for the lease to lapse."""
        try:
            await self._replays.update_one(
                {"_id": replay["_id"], "lease": replay["lease"]}, {"$unset": {"lease_until": ""}}
            )
        except PyMongoError as error:
            log.warning("lease_stays", replay_id=replay["_id"], error=type(error).__name__)


def _order(replay: Document) -> Order:
    """How its next letters are replayed: on the lane that nothing urgent is on. Among the first ones of a replay that
    was somebody's before are rows that they opened, and died before they published them."""
    after_a_death = replay["takes"] > 1 and not replay.get("settled_in")
    patience = timedelta() if after_a_death else STALE
    return Order(replay["by"], replay["_id"], Priority.BULK, patience)


def _lease() -> Document:
    return {"$add": ["$$NOW", int(LEASE_S * 1000)]}


def _until(where: Document, moment: datetime) -> Document:
    return {"$and": [where, {"create_time": {"$lte": moment}}]}


def _left(replay: Document) -> Document:
    """The letters that a replay has still before it."""
    where = _until(matching(pb.DeadLetterFilter.FromString(replay["filter"])), replay["create_time"])
    at = replay.get("at")
    return where if at is None else {"$and": [where, newer(at["time"], at["id"])]}


def told(row: Document) -> pb.Replay:
    """A replay as operators see it."""
    return pb.Replay(
        replay_id=row["_id"],
        done=row["state"] != RUNNING,
        cancelled=row["state"] == CANCELLED,
        matched=row["matched"],
        replayed=row["replayed"],
        skipped=row["skipped"],
        create_time=timestamp(row["create_time"]),
        update_time=timestamp(row["update_time"]),
    )
