"""The sweeper: finds deliveries that got stuck and publishes them again. It touches only what is not final, has
no retry ahead, and is older, by more than dispatch takes, than the oldest message that its channel still has to
settle; so an outage with a backlog makes it wait, not double the backlog. And it never fills a stream: at half its
bound it stops, since what is accepted needs the rest."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from pymongo.errors import PyMongoError

from crown import logs, metrics, subjects, tracing
from crown.bus import Bus, BusError, Outgoing
from crown.clock import now
from crown.errors import CrownError
from crown.ledger import collection
from crown.notification.v1.events_pb2 import DeliveryEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState, Priority
from crown.stopping import pause
from crown.store import Document, Store
from services.ingest.books import unsettled

log = logs.get(__name__)

# Between the row and its message: younger ones are simply under way.
_GRACE = timedelta(seconds=60)
# Between the time that a retry is due and its message.
_LATE = timedelta(seconds=5)
# Of each channel and lane in one period.
_MOST = 1_000
# The part of its bound up to which a stream takes what is swept.
_FULL_MOST = 0.5


class Sweeper:
    """Looks every `period_s` seconds."""

    def __init__(self, bus: Bus, store: Store, period_s: float) -> None:
        self._bus = bus
        self._db = store.db
        self._period_s = period_s

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        while not stopping.is_set():
            await pause(stopping, self._period_s)
            try:
                await self.sweep()
            except (PyMongoError, CrownError, BusError) as error:
                log.warning("sweep_failed", error=type(error).__name__)

    async def sweep(self) -> int:
        """One look at everything; answers how many were published again."""
        count = 0
        for priority, lane in subjects.LANES.items():
            if await self._has_room(subjects.delivery_stream(lane)):
                for channel in subjects.WORKED:
                    count += await self._sweep(channel, priority)
        return count

    async def _has_room(self, stream: str) -> bool:
        info = await self._bus.api(f"STREAM.INFO.{stream}")
        most = info["config"].get("max_bytes", -1)
        return bool(most <= 0 or info["state"]["bytes"] < most * _FULL_MOST)

    async def _sweep(self, channel: Channel.Type.ValueType, priority: Priority.Type.ValueType) -> int:
        name, lane = subjects.NAMES[channel], subjects.LANES[priority]
        rows = self._db[collection(channel)]
        where = _stuck(name, priority, await self._oldest_unsettled(name, lane))
        fields = {f"deliveries.{name}": 1, "notification_id": 1, "user_id": 1, "trace": 1}
        found = rows.find(where, fields).sort("create_time", 1).limit(_MOST)
        stuck = [row async for row in found]
        if stuck:
            log.warning("swept", channel=name, lane=lane, count=len(stuck))
            metrics.SWEPT.labels(name).inc(len(stuck))
            await self._bus.publish_many(_again(row, channel, priority) for row in stuck)
            # From here on they are as young as their new messages, and wait as those do.
            touched = {"_id": {"$in": [row["_id"] for row in stuck]}, "open": name}
            await rows.update_many(touched, {"$set": {f"deliveries.{name}.update_time": now()}})
        return len(stuck)

    async def _oldest_unsettled(self, channel: str, lane: str) -> datetime:
        """When the oldest message that the channel has not settled was stored; now where it has settled all."""
        oldest = now()
        for consumer in (subjects.worker(channel, lane), subjects.retrier(channel, lane)):
            oldest = min(oldest, await unsettled.oldest(self._bus, consumer) or oldest)
        return oldest


def _stuck(channel: str, priority: Priority.Type.ValueType, oldest: datetime) -> Document:
    state, changed, due = (f"deliveries.{channel}.{field}" for field in ("state", "update_time", "due_time"))
    lost = {state: DeliveryState.PENDING, changed: {"$lt": oldest - _GRACE}}
    late = {state: DeliveryState.RETRYING, due: {"$lt": oldest - _LATE}, changed: {"$lt": oldest - _LATE}}
    return {"open": channel, "lane": priority, "$or": [lost, late]}


def _again(row: Document, channel: Channel.Type.ValueType, priority: Priority.Type.ValueType) -> Outgoing:
    name = subjects.NAMES[channel]
    event = DeliveryEvent(
        delivery_id=row["deliveries"][name]["id"],
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        channel=channel,
        priority=priority,
    )
    headers = tracing.header(row.get("trace", ""))
    return Outgoing(subjects.delivery(name, subjects.LANES[priority]), event.SerializeToString(), headers)
