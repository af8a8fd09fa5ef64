"""Puts off what is to be sent later, as messages that JetStream publishes when their time comes; and keeps back
what was cancelled. The notification's document stands before, so that it can be asked about and cancelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from crown import failpoint, metrics, subjects, tracing, vault
from crown.bus import Bus, Outgoing
from crown.clock import now
from crown.erasures import is_pseudonym
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.store import Database, Document
from crown.vault import Key
from services.ingest import cancelling
from services.ingest.dispatch.orders import Order, send_time

# JetStream's schedules tick once a second, so that one may come a little before its time by our clock.
_EARLY = timedelta(seconds=1)


class Scheduling:
    """Tells what is to be worked on now from what is not."""

    def __init__(self, bus: Bus, db: Database, data_key: Key) -> None:
        self._bus = bus
        self._data_key = data_key
        self._ledger = db.ledger
        self._notifications = db.notifications
        self._lateness = metrics.LATENESS.labels("send_at")

    async def put_off(self, orders: list[Order], standing: Mapping[str, Document]) -> list[Order]:
        """Those of `orders` that are to be worked on now. The others are put off, but for what was cancelled, and
        may be acked after this. `standing` are their documents. Of one whose people were erased in part the others
        are put off, and the erased are worked on now: nothing of them waits."""
        moment = now()
        later = [order for order in orders if is_ahead(order, moment)]
        if later:
            failpoint.reach("scheduling.before_publish")
            await self._bus.publish_all(
                schedule(order, left, self._data_key)
                for order in later
                if not _is_cancelled(order, standing) and (left := _without_erased(order))
            )
            failpoint.reach("scheduling.after_publish")
        found = [order for order in orders if not is_ahead(order, moment)]
        self._observe(found, moment)
        return found + [order for order in later if _keep_erased(order)]

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


def _without_erased(order: Order) -> bytes:
    """The message as it came, where none of its people was erased since; else one for the others alone, empty where
    there are none."""
    if not any(map(is_pseudonym, order.event.user_ids)):
        return order.message.data
    event = IntakeEvent.FromString(order.message.data)
    renamed = zip(event.user_ids, order.event.user_ids, strict=True)
    left = [user_id for user_id, name in renamed if not is_pseudonym(name)]
    event.user_ids[:] = left
    return event.SerializeToString() if left else b""


def _keep_erased(order: Order) -> bool:
    """Leaves the erased in the order, and says whether there are any."""
    erased = [user_id for user_id in order.event.user_ids if is_pseudonym(user_id)]
    if erased:
        order.event.user_ids[:] = erased
    return bool(erased)


def whom(data_key: Key, user_ids: Sequence[str]) -> str:
    """What stands in the subject of a schedule for these people: a keyed hash of a single one, by which an erasure
    finds it."""
    return vault.tag(data_key, "schedule", user_ids[0]).hex() if len(user_ids) == 1 else subjects.SEVERAL


def schedule(order: Order, data: bytes, data_key: Key) -> Outgoing:
    """What JetStream publishes when it is due: `data`, which is the message of the order or what is left of it. Its
    subject is a function of these bytes, so that scheduling it again replaces it."""
    wanted = send_time(order.event)
    assert wanted is not None
    lane = subjects.LANES[order.event.priority]
    due = wanted.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    part = sha256(data).hexdigest()[:32]
    people = [user_id for user_id in order.event.user_ids if not is_pseudonym(user_id)]
    headers = {
        "Nats-Schedule": f"@at {due}",
        "Nats-Schedule-Target": subjects.due_intake(lane),
        tracing.HEADER: order.trace,
    }
    subject = subjects.schedule(order.event.notification_id, part, whom(data_key, people))
    return Outgoing(subject, data, headers)
