"""ScheduleService: schedules for those who send by them, and for operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crown import ids, vault
from crown.auth import caller
from crown.bus import Bus
from crown.clock import Clock, now, timestamp
from crown.errors import NotFound, Violation
from crown.notification.v1 import schedule_service_pb2 as pb
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.types_pb2 import ScheduleState
from crown.store import Database, Document
from services.ingest.intake import accept
from services.ingest.intake.intake import Intake
from services.ingest.schedules import firing, times
from services.ingest.schedules.book import Book, Plan

LIMIT = 50
# What would say the same each time that the schedule sends.
_UNTIMELY = frozenset({"idempotency_key", "send_at", "expires_at"})
_LEFT_OUT = "must be left out: it is sent again and again"
_NONE = "there is no schedule with this id"

_Planned = pb.CreateScheduleRequest | pb.UpdateScheduleRequest


class ScheduleService:
    """The servicer."""

    def __init__(
        self, bus: Bus, db: Database, data_key: vault.Key, intake: Intake, clock: Clock = now
    ) -> None:
        self._bus = bus
        self._book = Book(db, data_key)
        self._data_key = data_key
        self._intake = intake
        self._clock = clock

    def checks(self) -> Mapping[str, Any]:
        """What the door checks beside the rules in the protos, by method."""
        return {"CreateSchedule": self._problems, "UpdateSchedule": self._problems}

    async def CreateSchedule(
        self, request: pb.CreateScheduleRequest, _context: Any
    ) -> pb.CreateScheduleResponse:
        """Makes one."""
        _must_be_theirs_to_send(request.notification)
        sender, key = caller().subject, request.idempotency_key
        schedule_id = (
            ids.keyed_notification(sender, "CreateSchedule", key, 0) if key else ids.fresh_notification()
        )
        found = await self._book.add(schedule_id, sender, _plan(request), self._clock())
        return pb.CreateScheduleResponse(schedule=self._schedule(found))

    async def GetSchedule(self, request: pb.GetScheduleRequest, _context: Any) -> pb.GetScheduleResponse:
        """The schedule."""
        found = _there(await self._book.find(_theirs(request.schedule_id)))
        return pb.GetScheduleResponse(schedule=self._schedule(found))

    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, _context: Any
    ) -> pb.ListSchedulesResponse:
        """A page of them."""
        limit = request.limit if request.HasField("limit") else LIMIT
        where = {**_own(), **({"_id": {"$gt": request.cursor}} if request.cursor else {})}
        found = await self._book.page(where, limit + 1)
        more = found[limit - 1]["_id"] if len(found) > limit else ""
        return pb.ListSchedulesResponse(
            schedules=[self._schedule(one) for one in found[:limit]], next_cursor=more
        )

    async def UpdateSchedule(
        self, request: pb.UpdateScheduleRequest, _context: Any
    ) -> pb.UpdateScheduleResponse:
        """Replaces what it is."""
        _must_be_theirs_to_send(request.notification)
        found = await self._book.replace(_theirs(request.schedule_id), _plan(request), self._clock())
        return pb.UpdateScheduleResponse(schedule=self._schedule(_there(found)))

    async def PauseSchedule(
        self, request: pb.PauseScheduleRequest, _context: Any
    ) -> pb.PauseScheduleResponse:
        """Stops it."""
        found = _there(await self._book.pause(_theirs(request.schedule_id), self._clock()))
        return pb.PauseScheduleResponse(schedule=self._schedule(found))

    async def ResumeSchedule(
        self, request: pb.ResumeScheduleRequest, _context: Any
    ) -> pb.ResumeScheduleResponse:
        """Has it go on."""
        held = _there(await self._book.find(_theirs(request.schedule_id)))
        _must_be_theirs_to_send(self._book.notification(held))
        found = _there(await self._book.resume(_theirs(request.schedule_id), self._clock()))
        return pb.ResumeScheduleResponse(schedule=self._schedule(found))

    async def RunSchedule(self, request: pb.RunScheduleRequest, _context: Any) -> pb.RunScheduleResponse:
        """Sends it now."""
        found = _there(await self._book.find(_theirs(request.schedule_id)))
        _must_be_theirs_to_send(self._book.notification(found))
        key = f"run:{request.idempotency_key}" if request.idempotency_key else ""
        notification_id = await firing.send(self._bus, self._book, self._data_key, found, key)
        return pb.RunScheduleResponse(notification_id=notification_id)

    async def DeleteSchedule(
        self, request: pb.DeleteScheduleRequest, _context: Any
    ) -> pb.DeleteScheduleResponse:
        """Deletes it."""
        if not await self._book.delete(_theirs(request.schedule_id)):
            raise NotFound(_NONE)
        return pb.DeleteScheduleResponse()

    def _problems(self, request: _Planned) -> list[Violation]:
        found = times.problems(request.cron, request.time_zone, self._clock())
        broken = [
            *(
                Violation(name, _LEFT_OUT, "schedule")
                for name in sorted(_UNTIMELY & _given(request.notification))
            ),
            *accept.problems(request.notification, self._intake.rules()),
        ]
        return found + [Violation(f"notification.{one.field}", one.description, one.rule) for one in broken]

    def _schedule(self, found: Document) -> pb.Schedule:
        active = found["state"] == ScheduleState.ACTIVE
        coming = times.after(found["cron"], found["time_zone"], self._clock()) if active else []
        return pb.Schedule(
            schedule_id=found["_id"],
            name=found["name"],
            cron=found["cron"],
            time_zone=found["time_zone"],
            notification=self._book.notification(found),
            state=found["state"],
            next_times=[stamp for moment in coming if (stamp := timestamp(moment)) is not None],
            last_time=timestamp(found.get("last_time")),
            last_notification_id=found.get("last_notification_id", ""),
            sender=found["sender"],
            create_time=timestamp(found["create_time"]),
            update_time=timestamp(found["update_time"]),
        )


def _must_be_theirs_to_send(notification: SendNotificationRequest) -> None:
    """Raises NotAllowed where the caller's token is for other categories."""
    refused = accept.beyond_scope(notification, caller())
    if refused is not None:
        raise refused


def _given(notification: SendNotificationRequest) -> set[str]:
    return {field.name for field, _ in notification.ListFields()}


def _plan(request: _Planned) -> Plan:
    return Plan(request.name, request.cron, request.time_zone, request.notification)


def _own() -> Document:
    """A filter for what the caller may see."""
    who = caller()
    return {"sender": who.subject} if who.use == "service" else {}


def _theirs(schedule_id: str) -> Document:
    return {"_id": schedule_id, **_own()}


def _there(found: Document | None) -> Document:
    if found is None:
        raise NotFound(_NONE)
    return found
