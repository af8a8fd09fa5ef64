"""Sends notifications to everybody: the notification, one broadcast that inboxes are merged with when they are
read, and one frame for all sockets. No rows: how many people there are makes no difference."""

from __future__ import annotations

import time
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from crown import broadcasts, failpoint, metrics, subjects, tracing
from crown.broadcasts import NEWS
from crown.bus import Bus, Outgoing
from crown.clock import moment, now, timestamp
from crown.notification.v1.events_pb2 import IntakeEvent, LiveEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.store import Database, Document
from services.ingest.books.retention import kept_for
from services.ingest.dispatch.orders import Order, expire_time, send_time


class Broadcaster:
    """Sends them. Every step is harmless when it is repeated, and what is done is noted last: `decide_time` in the
    notification."""

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._notifications = db.notifications
        self._broadcasts = db.broadcasts

    async def send(self, order: Order) -> None:
        """Sends a notification whose document stands. Raises BusUnavailable and PyMongoError: nothing, or not
        all, was done; do it again."""
        event = order.event
        notification_id = event.notification_id
        present = now()
        expires = expire_time(event)
        known = await self._known(notification_id)
        if known.get("decide_time") is not None or known.get("cancel_time") is not None:
            return
        state = DeliveryState.EXPIRED
        if expires is None or expires > present:
            state = DeliveryState.DELIVERED
            await self._write(event, present)
            failpoint.reach("broadcast.after_write")
            # Whoever cancelled it before the write found nothing to withdraw.
            if (await self._known(notification_id)).get("cancel_time") is not None:
                await self._broadcasts.delete_one({"_id": notification_id})
                return
            await self._bus.tell([_frame(order)])
        for channel in event.channels:
            metrics.DISPATCHED.labels(subjects.CHANNELS[channel], DeliveryState.Type.Name(state)).inc()
        await self._notifications.update_one(
            {"_id": notification_id, "decide_time": None},
            {"$set": {"decide_time": present, "decided": state}},
        )

    async def withdraw(self, notification_id: str) -> None:
        """Takes a broadcast that was cancelled out of all inboxes; its notification has to say so already. Sockets
        count anew, so far as the bus is there."""
        taken = await self._broadcasts.delete_one({"_id": notification_id})
        if taken.deleted_count:
            await self._bus.tell([Outgoing(subjects.EVERYONE, LiveEvent(event=NEWS).SerializeToString())])

    async def _known(self, notification_id: str) -> Document:
        fields = {"decide_time": 1, "cancel_time": 1}
        return await self._notifications.find_one({"_id": notification_id}, fields) or {}

    async def _write(self, event: IntakeEvent, present: datetime) -> None:
        """Writes it, with the number that follows the newest. Of two who find the same one newest, one has to
        look again."""
        document = _document(event, present)
        while True:
            last = await broadcasts.newest(self._broadcasts)
            # Larger than what any deleted one had, too: what people marked as a whole names numbers.
            number = max(last + 1, time.time_ns() // 1_000)
            try:
                await self._broadcasts.insert_one({**document, "number": number, "after": last})
            except DuplicateKeyError:
                if await self._broadcasts.find_one({"_id": document["_id"]}, {"_id": 1}):
                    return
            else:
                return


def _document(event: IntakeEvent, present: datetime) -> Document:
    create_time = send_time(event) or moment(event.create_time)
    expires = expire_time(event)
    # Where it does not expire before, it stays for as long as its category is kept.
    retire_time = present + kept_for(event.category)
    return {
        "_id": event.notification_id,
        "kind": event.kind,
        "category": event.category,
        "channels": list(event.channels),
        "create_time": create_time,
        "retire_time": min(retire_time, expires) if expires else retire_time,
        "wrapped_key": event.content.wrapped_key,
    }


def _frame(order: Order) -> Outgoing:
    """What every node hears. Where sockets are not among its channels, they only count anew."""
    event = order.event
    told = LiveEvent(event=NEWS)
    if Channel.REAL_TIME in event.channels:
        told = LiveEvent(
            event="notification",
            notification_id=event.notification_id,
            kind=event.kind,
            category=event.category,
            create_time=timestamp(moment(event.create_time)),
            content=event.content,
        )
    return Outgoing(subjects.EVERYONE, told.SerializeToString(), {tracing.HEADER: order.trace})
