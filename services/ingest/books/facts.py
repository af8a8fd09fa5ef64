"""What the store knows of those that events are about. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from crown.ledger import row_id
from crown.notification.v1.events_pb2 import CallbackEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import Channel
from crown.store import Database, Document
from services.ingest.books.events import Decided, Event

_FIELDS = {"deliveries": 1, "notification_id": 1, "user_id": 1, "lane": 1, "kind": 1, "trace": 1}


@dataclass(slots=True)
class Facts:
    """Rows of the ledger by id; the row that each callback is about, by callback, as far as there is one; and
    the notifications whose senders want to hear."""

    rows: dict[str, Document] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    hooked: frozenset[str] = frozenset()

    def row(self, event: Event) -> Document | None:
        """The row that an event is about; None where there is none, or nobody needs it."""
        match event:
            case CallbackEvent():
                return self.rows.get(self.places.get(event.callback_id, ""))
            case Decided(outcome):
                return self.rows.get(row_id(outcome.notification_id, outcome.user_id))
            case _:
                return self.rows.get(row_id(event.notification_id, event.user_id))


async def gather(db: Database, events: Sequence[Event]) -> Facts:
    """The facts about `events`. Raises PyMongoError."""
    callbacks = [event for event in events if isinstance(event, CallbackEvent)]
    outcomes = [
        event.outcome if isinstance(event, Decided) else event
        for event in events
        if not isinstance(event, CallbackEvent)
    ]
    places = {**await _claimed(db, callbacks), **await _by_message(db, callbacks)}
    named = {outcome.notification_id for outcome in outcomes if outcome.channel != Channel.WEBHOOK}
    named |= {row.partition("/")[0] for row in places.values()}
    hooked = await _hooked(db, named)
    wanted = set(places.values()) | _rows_of(outcomes, hooked)
    return Facts(await _rows(db, wanted), places, hooked)


def is_by_message(event: CallbackEvent) -> bool:
    """Whether the provider gives back nothing but its own id of the message, which is kept for SNS alone."""
    return not event.delivery_id and event.channel == Channel.SMS and event.provider == "sns"


def _rows_of(outcomes: Sequence[OutcomeEvent], hooked: frozenset[str]) -> set[str]:
    return {
        row_id(outcome.notification_id, outcome.user_id)
        for outcome in outcomes
        if outcome.notification_id in hooked
    }


async def _claimed(db: Database, callbacks: Sequence[CallbackEvent]) -> dict[str, str]:
    """The rows of callbacks that name their delivery. Whatever was attempted has a claim with the number
    one."""
    claims = {f"{event.delivery_id}:1" for event in callbacks if event.delivery_id}
    if not claims:
        return {}
    found = db.claims.find({"_id": {"$in": list(claims)}}, {"row": 1})
    rows = {claim["_id"]: claim.get("row", "") async for claim in found}
    named = {event.callback_id: rows.get(f"{event.delivery_id}:1", "") for event in callbacks}
    return {callback_id: row for callback_id, row in named.items() if row}


async def _by_message(db: Database, callbacks: Sequence[CallbackEvent]) -> dict[str, str]:
    ids = {event.provider_message_id for event in callbacks if is_by_message(event)}
    if not ids:
        return {}
    at = "deliveries.sms.provider_message_id"
    where = {"deliveries.sms.provider": "sns", at: {"$in": list(ids)}}
    rows = {
        row["deliveries"]["sms"]["provider_message_id"]: row["_id"]
        async for row in db.ledger.find(where, {at: 1})
    }
    return {
        event.callback_id: rows[event.provider_message_id]
        for event in callbacks
        if is_by_message(event) and event.provider_message_id in rows
    }


async def _hooked(db: Database, notification_ids: Collection[str]) -> frozenset[str]:
    """Those whose senders want to hear. The index holds no others, so that this reads no notification."""
    if not notification_ids:
        return frozenset()
    where = {"_id": {"$in": list(notification_ids)}, "webhook_url": {"$exists": True}}
    return frozenset([row["_id"] async for row in db.notifications.find(where, {"_id": 1}).hint("webhook")])


async def _rows(db: Database, wanted: Collection[str]) -> dict[str, Document]:
    if not wanted:
        return {}
    found = db.ledger.find({"_id": {"$in": list(wanted)}}, _FIELDS)
    return {row["_id"]: row async for row in found}
