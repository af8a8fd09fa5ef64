"""DeadLetterService: what nobody will try again by itself, and what operators do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from crown import auth, logs
from crown.bus import Bus, BusError
from crown.clock import now
from crown.door import Check
from crown.errors import BusUnavailable, NotFound, NotReplayable, Violation
from crown.ledger import row_id
from crown.notification.v1 import dead_letter_service_pb2 as pb
from crown.notification.v1.events_pb2 import NotificationContent
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.timeline_pb2 import TimelineEntry
from crown.notification.v1.types_pb2 import Channel, DeadLetterState, TimelineEvent
from crown.people import People
from crown.store import Database, Document
from crown.vault import Key, VaultError
from services.ingest.dead.letter import NEWEST_FIRST, WITHOUT_BODY, cursor, entry, matching, older
from services.ingest.dead.replay import Order, Replayer, timeline_entry
from services.ingest.dead.replays import Replays
from services.ingest.timeline import told

log = logs.get(__name__)

LIMIT = 50
# The total is exact up to here.
COUNTED_MOST = 100_000
# Attempts are few; a provider may call back more often than that.
_TOLD_MOST = 500
_SETTLED = {
    DeadLetterState.DISCARDED: "it was discarded",
    DeadLetterState.RECONCILED: "the provider's later word has settled it",
}


class DeadLetterService:
    """The servicer."""

    def __init__(self, bus: Bus, db: Database, data_key: Key) -> None:
        self._db = db
        self._letters = db.dead_letters
        self._people = People(db, data_key)
        self._replayer = Replayer(bus, db)
        self._replays = Replays(db)

    def checks(self) -> Mapping[str, Check]:
        """What the rules of the protos cannot say, for the door."""
        return {"ReplayDeadLetters": _open_ones}

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, _context: Any
    ) -> pb.ListDeadLettersResponse:
        """One page."""
        limit = request.limit if request.HasField("limit") else LIMIT
        where = matching(request.filter)
        page = {"$and": [where, older(request.cursor)]} if request.cursor else where
        found = self._letters.find(page, WITHOUT_BODY).sort(NEWEST_FIRST).limit(limit + 1)
        rows = [row async for row in found]
        return pb.ListDeadLettersResponse(
            dead_letters=[entry(row) for row in rows[:limit]],
            total=await self._letters.count_documents(where, limit=COUNTED_MOST),
            next_cursor=cursor(rows[limit - 1]) if len(rows) > limit else "",
        )

    async def GetDeadLetter(
        self, request: pb.GetDeadLetterRequest, _context: Any
    ) -> pb.GetDeadLetterResponse:
        """One with all there is to know."""
        row = await self._find(request.dead_letter_id)
        attempts, data = await asyncio.gather(self._attempts(row), self._data(row))
        # Content is for the person; who else reads it is written down.
        log.info("dead_letter_read", operator=auth.caller().subject, dead_letter_id=row["_id"])
        return pb.GetDeadLetterResponse(
            dead_letter=entry(row), attempts=attempts, data=data, body=row.get("body", b"")
        )

    async def ReplayDeadLetter(
        self, request: pb.ReplayDeadLetterRequest, _context: Any
    ) -> pb.ReplayDeadLetterResponse:
        """Has one delivered again, on its own lane."""
        row = await self._find(request.dead_letter_id)
        if row["state"] == DeadLetterState.OPEN:
            row = await self._replay(row)
        if row["state"] != DeadLetterState.REPLAYED:
            raise NotReplayable(_SETTLED.get(row["state"], "its state is not known"))
        return pb.ReplayDeadLetterResponse(dead_letter=entry(row))

    async def _replay(self, row: Document) -> Document:
        operator = auth.caller().subject
        try:
            refused = await self._replayer.replay([row], Order(operator))
        except BusError as error:
            raise BusUnavailable("the bus does not take it now; try again") from error
        if row["_id"] in refused:
            raise NotReplayable(refused[row["_id"]])
        log.info("dead_letter_replayed", operator=operator, dead_letter_id=row["_id"])
        return await self._find(row["_id"])

    async def ReplayDeadLetters(
        self, request: pb.ReplayDeadLettersRequest, _context: Any
    ) -> pb.ReplayDeadLettersResponse:
        """Begins a replay of many."""
        return pb.ReplayDeadLettersResponse(replay=await self._replays.begin(request, auth.caller().subject))

    async def GetReplay(self, request: pb.GetReplayRequest, _context: Any) -> pb.GetReplayResponse:
        """How far it is."""
        return pb.GetReplayResponse(replay=_there(await self._replays.find(request.replay_id)))

    async def CancelReplay(self, request: pb.CancelReplayRequest, _context: Any) -> pb.CancelReplayResponse:
        """Ends it."""
        cancelled = await self._replays.cancel(request.replay_id, auth.caller().subject)
        return pb.CancelReplayResponse(replay=_there(cancelled))

    async def DiscardDeadLetter(
        self, request: pb.DiscardDeadLetterRequest, _context: Any
    ) -> pb.DiscardDeadLetterResponse:
        """Puts one aside; one about which something was done already stays as it is."""
        operator = auth.caller().subject
        row = await self._find(request.dead_letter_id)
        if row["state"] == DeadLetterState.OPEN:
            if row["delivery_id"]:
                await self._db.timeline.bulk_write([timeline_entry(row, TimelineEvent.DISCARDED, operator)])
            await self._letters.update_one(
                {"_id": row["_id"], "state": DeadLetterState.OPEN},
                {"$set": {"state": DeadLetterState.DISCARDED, "update_time": now(), "update_by": operator}},
            )
            log.info("dead_letter_discarded", operator=operator, dead_letter_id=row["_id"])
            row = await self._find(row["_id"])
        return pb.DiscardDeadLetterResponse(dead_letter=entry(row))

    # -- what is known of one

    async def _find(self, letter_id: str) -> Document:
        row = await self._letters.find_one({"_id": letter_id})
        if row is None:
            raise NotFound("there is no dead letter with this id")
        return row

    async def _attempts(self, row: Document) -> list[TimelineEntry]:
        if not row["delivery_id"]:
            return []
        where = {"notification_id": row["notification_id"], "delivery_id": row["delivery_id"]}
        found = self._db.timeline.find(where).sort("time", 1).limit(_TOLD_MOST)
        return [told(one) async for one in found]

    async def _data(self, row: Document) -> NotificationData | None:
        """What it says; None where it was erased, or never could be read."""
        if not row["delivery_id"] or row["channel"] == Channel.WEBHOOK:
            return None
        user_id = row["user_id"]
        place = {"_id": row_id(row["notification_id"], user_id)}
        ledger, notification, keys = await asyncio.gather(
            self._db.ledger.find_one(place, {"wrapped_key": 1}),
            self._db.notifications.find_one({"_id": row["notification_id"]}, {"content": 1}),
            self._people.keys([user_id]),
        )
        sealed = (notification or {}).get("content")
        if ledger is None or not sealed or user_id not in keys:
            return None
        try:
            content = keys[user_id].unwrap(ledger["wrapped_key"]).open(sealed)
            return NotificationData.FromString(NotificationContent.FromString(content).data)
        except (VaultError, DecodeError):
            return None


def _open_ones(request: pb.ReplayDeadLettersRequest) -> Sequence[Violation]:
    if request.filter.state in {DeadLetterState.STATE_UNSPECIFIED, DeadLetterState.OPEN}:
        return ()
    return [Violation("filter.state", "must be OPEN, or not given: others are not replayed", "state")]


def _there(replay: pb.Replay | None) -> pb.Replay:
    if replay is None:
        raise NotFound("there is no replay with this id")
    return replay
