"""The schedules in the store. What they send is sealed there, the people and groups that it is for included.

A document: {_id, sender, name, cron, time_zone, state, next_time, last_time, last_notification_id, create_time,
update_time, content, wrapped_key, people, lease_time}. `next_time` stands where it is active. `people` are keyed
hashes of whom the content names: by them it is found when somebody is to be forgotten. `lease_time` is until when
somebody who has found it due is left to send it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ReturnDocument

from crown import vault
from crown.notification.v1.events_pb2 import Sealed
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.types_pb2 import ScheduleState
from crown.store import Database, Document, insert_new
from services.ingest.schedules import times

_LEASE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a schedule is, as its service says it."""

    name: str
    cron: str
    time_zone: str
    notification: SendNotificationRequest


class Book:
    """The schedules."""

    def __init__(self, db: Database, data_key: vault.Key) -> None:
        self._schedules = db.schedules
        self._data_key = data_key

    async def add(self, schedule_id: str, sender: str, plan: Plan, present: datetime) -> Document:
        """The schedule, as it was added now or before under the same id."""
        document = {
            "_id": schedule_id,
            "sender": sender,
            **self._fields(plan, present),
            "state": ScheduleState.ACTIVE,
            "create_time": present,
            "next_time": times.after(plan.cron, plan.time_zone, present)[0],
        }
        await insert_new(self._schedules, [document])
        return await self._schedules.find_one({"_id": schedule_id}) or document

    async def find(self, where: Document) -> Document | None:
        """The one that this filter fits."""
        return await self._schedules.find_one(where)

    async def page(self, where: Document, limit: int) -> list[Document]:
        """Some that it fits, by id."""
        return await self._schedules.find(where).sort("_id", 1).limit(limit).to_list()

    async def replace(self, where: Document, plan: Plan, present: datetime) -> Document | None:
        """What it is from now on; its times begin anew."""
        next_time = times.after(plan.cron, plan.time_zone, present)[0]
        active = {"$eq": ["$state", ScheduleState.ACTIVE]}
        fields = {name: {"$literal": value} for name, value in self._fields(plan, present).items()}
        change = {"$set": {**fields, "next_time": {"$cond": [active, next_time, "$$REMOVE"]}}}
        return await self._change(where, [change])

    async def pause(self, where: Document, present: datetime) -> Document | None:
        """Sends nothing more."""
        paused = {"state": ScheduleState.PAUSED, "update_time": present}
        return await self._change(where, {"$set": paused, "$unset": {"next_time": 1, "lease_time": 1}})

    async def resume(self, where: Document, present: datetime) -> Document | None:
        """Goes on, where it is paused."""
        found = await self.find({**where, "state": ScheduleState.PAUSED})
        if found is not None:
            next_time = times.after(found["cron"], found["time_zone"], present)[0]
            active = {"state": ScheduleState.ACTIVE, "update_time": present, "next_time": next_time}
            same = {**where, "state": ScheduleState.PAUSED, "update_time": found["update_time"]}
            await self._change(same, {"$set": active})
        return await self.find(where)

    async def delete(self, where: Document) -> bool:
        """Whether there was one."""
        return bool((await self._schedules.delete_one(where)).deleted_count)

    async def due(self, present: datetime) -> Document | None:
        """One that is due, for the caller to send soon: nobody else gets it for some seconds."""
        free = {"next_time": {"$lte": present}, "lease_time": {"$not": {"$gt": present}}}
        lease = {"$set": {"lease_time": present + _LEASE}}
        return await self._schedules.find_one_and_update(
            free, lease, sort=[("next_time", 1)], return_document=ReturnDocument.AFTER
        )

    async def advance(self, found: Document, sent: Mapping[str, Any], present: datetime) -> None:
        """Goes on to the next time, unless somebody did or has changed it meanwhile."""
        same = {"_id": found["_id"], "next_time": found["next_time"], "update_time": found["update_time"]}
        following = times.after(found["cron"], found["time_zone"], present)
        change: Document = {"$set": dict(sent), "$unset": {"lease_time": 1}}
        if following:
            change["$set"]["next_time"] = following[0]
        else:
            change["$unset"]["next_time"] = 1
        await self._schedules.update_one(same, change)

    async def naming(self, user_id: str) -> AsyncIterator[tuple[Document, SendNotificationRequest]]:
        """The schedules whose notification names a person, each with it."""
        # What was written before there were hashes has to be looked into.
        where = {"people": {"$in": [self._tag(user_id), None]}}
        async for found in self._schedules.find(where):
            notification = self.notification(found)
            if user_id in _named(notification):
                yield found, notification

    async def forget(self, user_id: str, time: datetime) -> None:
        """Takes a person out of every schedule from before `time`. One that was for them alone is deleted."""
        async for found, notification in self.naming(user_id):
            same = {"_id": found["_id"], "update_time": found["update_time"]}
            if found["update_time"] > time:
                continue
            if _without(notification, user_id):
                await self._schedules.update_one(same, {"$set": self._sealed(notification)})
            else:
                await self._schedules.delete_one(same)

    def notification(self, found: Document) -> SendNotificationRequest:
        """What it sends."""
        sealed = Sealed(ciphertext=found["content"], wrapped_key=found["wrapped_key"])
        return SendNotificationRequest.FromString(vault.unseal(self._data_key, sealed))

    async def _change(self, where: Document, change: Any) -> Document | None:
        return await self._schedules.find_one_and_update(where, change, return_document=ReturnDocument.AFTER)

    def _fields(self, plan: Plan, present: datetime) -> Document:
        return {
            "name": plan.name,
            "cron": plan.cron,
            "time_zone": plan.time_zone or "UTC",
            "update_time": present,
            **self._sealed(plan.notification),
        }

    def _sealed(self, notification: SendNotificationRequest) -> Document:
        sealed = vault.seal(self._data_key, notification.SerializeToString())
        return {
            "content": sealed.ciphertext,
            "wrapped_key": sealed.wrapped_key,
            "people": [self._tag(user_id) for user_id in sorted(_named(notification))],
        }

    def _tag(self, user_id: str) -> bytes:
        return vault.tag(self._data_key, "schedule", user_id)


def _named(notification: SendNotificationRequest) -> set[str]:
    """Everybody whom it names."""
    found = {notification.user_id, *notification.user_ids, *notification.exclude_user_ids}
    return (found | {notification.actor.user_id}) - {""}


def _without(notification: SendNotificationRequest, user_id: str) -> bool:
    """Takes a person out of it; whether it still is for somebody."""
    if notification.user_id == user_id:
        return False
    for ids in (notification.user_ids, notification.exclude_user_ids):
        if user_id in ids:
            ids.remove(user_id)
    if notification.actor.user_id == user_id:
        notification.ClearField("actor")
    return bool(
        notification.user_id or notification.user_ids or notification.group_ids or notification.everyone
    )
