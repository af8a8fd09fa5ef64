"""BooksService: what was accepted, and what became of it, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from crown import subjects
from crown.bus import Bus, BusError
from crown.clock import moment, now, timestamp
from crown.door import Check
from crown.errors import BusUnavailable, Violation
from crown.ledger import collection
from crown.notification.v1 import books_service_pb2 as pb
from crown.notification.v1.types_pb2 import Channel
from crown.store import Database
from services.ingest.books import unsettled
from services.ingest.books.balance import LIMIT_MS, SLACK, Balance

_LONGEST = timedelta(days=31)
_USUAL = timedelta(hours=1)
_NAMED_MOST = 20
# A dispatcher looks every second for what has come due.
_LATE = timedelta(seconds=60)
_CHANNEL_OF = {name: value for value, name in subjects.NAMES.items()}


class BooksService:
    """The servicer."""

    def __init__(self, bus: Bus, db: Database, slack: timedelta = SLACK) -> None:
        self._bus = bus
        self._balance = Balance(bus, db, slack)
        self._present = Present(bus, db)

    def checks(self) -> Mapping[str, Check]:
        """What the rules of the proto cannot say, for the door."""
        return {"GetBooks": _problems}

    async def GetBooks(self, request: pb.GetBooksRequest, _context: Any) -> pb.GetBooksResponse:
        """The books of a stretch of time."""
        start, end = _stretch(request)
        try:
            return await self._books(start, end)
        except BusError as error:
            raise BusUnavailable("the bus does not tell what waits; try again") from error

    async def _books(self, start: datetime, end: datetime) -> pb.GetBooksResponse:
        # Asked before anything is counted: what is settled now has its rows.
        settled = await self._balance.settled_until()
        firm_end = min(end, max(start, settled))
        missing = {key: short async for key, short in self._balance.missing(start, firm_end, settled)}
        counted = await self._balance.counted(start, end, settled)
        deliveries = await self._balance.deliveries(start, end)
        lost = sum(one["count"] for one in deliveries if one["_id"]["lost"])
        named = list(missing)[:_NAMED_MOST]
        if lost:
            named += await self._balance.lost(start, end, _NAMED_MOST - len(named))
        scheduled = await self._balance.scheduled(start, end, settled)
        short = sum(missing.values())
        return pb.GetBooksResponse(
            start_time=timestamp(start),
            end_time=timestamp(end),
            notifications=counted.notifications,
            recipients=counted.people + scheduled,
            rows=counted.rows,
            dispatching=counted.people - counted.rows - short + scheduled,
            deliveries=_entries(deliveries),
            difference=sum(map(abs, missing.values())) + lost,
            notification_ids=named,
            in_flight=await self._present.in_flight(),
            intake=await self._present.intake(),
            deferred=await self._present.deferred(),
            late=await self._present.late(),
        )


def _stretch(request: pb.GetBooksRequest) -> tuple[datetime, datetime]:
    end = moment(request.end_time) if request.HasField("end_time") else now()
    return (moment(request.start_time) if request.HasField("start_time") else end - _USUAL), end


def _problems(request: pb.GetBooksRequest) -> list[Violation]:
    try:
        start, end = _stretch(request)
        if timedelta(0) < end - start <= _LONGEST:
            return []
    except (ValueError, OverflowError):
        # Out of the calendar; over gRPC any number of seconds may come.
        pass
    field = "start_time" if request.HasField("start_time") else "end_time"
    return [Violation(field, "must be before end_time, and at most 31 days before it", "books.stretch")]


class Present:
    """What is under way at this moment, from indexes alone."""

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._db = db

    async def in_flight(self) -> list[pb.BooksInFlight]:
        """One entry a channel that has deliveries of its own."""
        return [await self._of(channel) for channel in subjects.WORKED]

    async def _of(self, channel: Channel.Type.ValueType) -> pb.BooksInFlight:
        rows, name = self._db[collection(channel)], subjects.NAMES[channel]
        count = await rows.count_documents({"open": name}, hint="open", maxTimeMS=LIMIT_MS)
        times = []
        for lane in subjects.LANES if count else ():
            where = {"open": name, "lane": lane}
            oldest = await rows.find_one(where, {"create_time": 1}, sort=[("create_time", 1)], hint="open")
            times += [oldest["create_time"]] if oldest else []
        return pb.BooksInFlight(channel=channel, count=count, oldest_time=timestamp(min(times, default=None)))

    async def intake(self) -> list[pb.BooksIntake]:
        """One entry a lane. Raises BusError and BusUnavailable."""
        found = []
        for priority, lane in subjects.LANES.items():
            waiting, taken = await unsettled.counts(self._bus, subjects.dispatcher(lane))
            found.append(pb.BooksIntake(lane=priority, waiting=waiting, taken=taken))
        return found

    async def deferred(self) -> int:
        """Rows with a delivery that waits for its time."""
        return await self._waking({"$exists": True})

    async def late(self) -> int:
        """Rows with a delivery whose time is long past: no dispatcher has looked."""
        return await self._waking({"$lt": now() - _LATE})

    async def _waking(self, when: dict[str, Any]) -> int:
        where = {"lane": {"$in": list(subjects.LANES)}, "wake_time": when}
        return await self._db.ledger.count_documents(where, hint="wake", maxTimeMS=LIMIT_MS)


def _entries(found: list[dict[str, Any]]) -> list[pb.BooksEntry]:
    sums: dict[tuple[int, int], int] = {}
    for one in found:
        place = _CHANNEL_OF[one["_id"]["channel"]], one["_id"]["state"]
        sums[place] = sums.get(place, 0) + one["count"]
    return [pb.BooksEntry(channel=c, state=s, count=n) for (c, s), n in sorted(sums.items())]  # type: ignore[arg-type]
