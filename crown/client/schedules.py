"""Notifications that are sent again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from crown.client import keys
from crown.client.calls import Calls
from crown.notification.v1 import schedule_service_pb2 as pb
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.schedule_service_pb2_grpc import ScheduleServiceStub


class Schedules:
    """The schedules of this service. `notification` is made by `draft`, `cron` has five fields."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = ScheduleServiceStub(channel)
        self._calls = calls

    async def create(
        self,
        cron: str,
        notification: SendNotificationRequest,
        *,
        time_zone: str = "",
        name: str = "",
        idempotency_key: str = "",
    ) -> pb.Schedule:
        """Makes a schedule, which is active from now on."""
        request = pb.CreateScheduleRequest(
            name=name,
            cron=cron,
            time_zone=time_zone,
            notification=notification,
            idempotency_key=keys.given_or_new(idempotency_key),
        )
        return (await self._calls.unary(self._stub.CreateSchedule, request)).schedule

    async def get(self, schedule_id: str) -> pb.Schedule:
        """A schedule with its next times. Raises NotFound."""
        request = pb.GetScheduleRequest(schedule_id=schedule_id)
        return (await self._calls.unary(self._stub.GetSchedule, request)).schedule

    async def all(self) -> AsyncIterator[pb.Schedule]:
        """All, by their ids."""
        request = pb.ListSchedulesRequest(limit=100)
        while True:
            page = await self._calls.unary(self._stub.ListSchedules, request)
            for schedule in page.schedules:
                yield schedule
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor

    async def update(
        self,
        schedule_id: str,
        cron: str,
        notification: SendNotificationRequest,
        *,
        time_zone: str = "",
        name: str = "",
    ) -> pb.Schedule:
        """Replaces what a schedule is. Raises NotFound."""
        request = pb.UpdateScheduleRequest(
            schedule_id=schedule_id, name=name, cron=cron, time_zone=time_zone, notification=notification
        )
        return (await self._calls.unary(self._stub.UpdateSchedule, request)).schedule

    async def pause(self, schedule_id: str) -> pb.Schedule:
        """Sends nothing more until it is resumed. Raises NotFound."""
        request = pb.PauseScheduleRequest(schedule_id=schedule_id)
        return (await self._calls.unary(self._stub.PauseSchedule, request)).schedule

    async def resume(self, schedule_id: str) -> pb.Schedule:
        """Goes on with the next time from now. Raises NotFound."""
        request = pb.ResumeScheduleRequest(schedule_id=schedule_id)
        return (await self._calls.unary(self._stub.ResumeSchedule, request)).schedule

    async def run(self, schedule_id: str, *, idempotency_key: str = "") -> str:
        """Sends it once now, and answers the id of what was sent. Raises NotFound."""
        request = pb.RunScheduleRequest(
            schedule_id=schedule_id, idempotency_key=keys.given_or_new(idempotency_key)
        )
        return (await self._calls.unary(self._stub.RunSchedule, request)).notification_id

    async def delete(self, schedule_id: str) -> None:
        """Deletes it. Raises NotFound; not tried again where it may have happened, since that would be raised."""
        request = pb.DeleteScheduleRequest(schedule_id=schedule_id)
        await self._calls.unary(self._stub.DeleteSchedule, request, repeatable=False)
