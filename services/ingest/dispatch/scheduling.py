"""Puts off what is to be sent later, as messages that JetStream publishes when their time comes; and keeps back
what was cancelled. The notification's document stands before, so that it can be asked about and cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256

from crown import failpoint, metrics, subjects, tracing
from crown.bus import Bus, Outgoing
from crown.clock import now
from crown.store import Database, Document
from services.ingest import cancelling
from services.ingest.dispatch.orders import Order, send_time

# JetStream's schedules tick once a second, so that one may come a little before its time by our clock.
_EARLY = timedelta(seconds=1)


class Scheduling:
    """Tells what is to be worked on now from what is not."""

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._ledger = db.ledger
        self._notifications = db.notifications
        self._lateness = metrics.LATENESS.labels("send_at")

    async def put_off(self, orders: list[Order], standing: Mapping[str, Document]) -> list[Order]:
        """Those of `orders` that are to be worked on now. The others are put off, but for what was cancelled, and
        may be acked after this. `standing` are their documents."""
        moment = now()
        later = [order for order in orders if is_ahead(order, moment)]
        if later:
            failpoint.reach("scheduling.before_publish")
            await self._bus.publish_all(
                schedule(order) for order in later if not _is_cancelled(order, standing)
            )
            failpoint.reach("scheduling.after_publish")
        found = [order for order in orders if not is_ahead(order, moment)]
        self._observe(found, moment)
        return found

    async def drop_cancelled(self, orders: list[Order], standing: Mapping[str, Document]) -> list[Order]:
        """Those of `orders` that were not cancelled."""
        cancelled = {order.event.notification_id for order in orders if _is_cancelled(order, standing)}
        for notification_id in cancelled:
            # Whoever wrote rows of it before may have died before they saw that it was cancelled.
            await cancelling.cancel_rows(self._ledger, notification_id, now())
        return [order for order in orders if order.event.notification_id not in cancelled]

    async def overtaken(self, notification_ids: set[str]) -> set[str]:
        """Those that were cancelled meanwhile. Their rows, which stand already, are cancelled now: the one who
        cancelled may have looked before they stood."""
        where = {"_id": {"$in": list(notification_ids)}, "cancel_time": {"$exists": True}}
        found = {row["_id"] async for row in self._notifications.find(where, {"_id": 1}).hint("cancelled")}
        for notification_id in found:
            await cancelling.cancel_rows(self._ledger, notification_id, now())
        return found

    def _observe(self, orders: list[Order], moment: datetime) -> None:
        for order in orders:
            wanted = send_time(order.event)
            if wanted is not None and order.message.stream == subjects.SCHEDULE:
                self._lateness.observe(max(0.0, (moment - wanted).total_seconds()))


def _is_cancelled(order: Order, standing: Mapping[str, Document]) -> bool:
    return bool(standing[order.event.notification_id].get("cancel_time"))


def is_ahead(order: Order, moment: datetime) -> bool:
    """Whether it is to be sent later."""
    wanted = send_time(order.event)
    return wanted is not None and wanted > moment + _EARLY


def schedule(order: Order) -> Outgoing:
    """What JetStream publishes when it is due: the message as it came. Its subject is a function of its bytes, so
    that scheduling it again replaces it."""
    wanted = send_time(order.event)
    assert wanted is not None
    lane = subjects.LANES[order.event.priority]
    due = wanted.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    part = sha256(order.message.data).hexdigest()[:32]
    headers = {
        "Nats-Schedule": f"@at {due}",
        "Nats-Schedule-Target": subjects.due_intake(lane),
        tracing.HEADER: order.trace,
    }
    return Outgoing(subjects.schedule(order.event.notification_id, part), order.message.data, headers)
