"""The documents that dispatch writes: notifications, and the rows of people. Nothing here reads or writes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from crown import ids, subjects
from crown.clock import moment
from crown.ledger import row_id
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.types_pb2 import DeliveryState
from crown.store import Document
from crown.vault import Key
from services.ingest.decide import Decision
from services.ingest.dispatch.orders import Order, expire_time, is_listing, page

# What the app itself shows, and counts until it is read.
_SHOWN = ("in_app", "real_time")


def notifications(orders: list[Order]) -> list[Document]:
    """The documents of these orders; the parts of one notification share theirs, and of retries with the same
    key the first one counts."""
    found: dict[str, Document] = {}
    for order in orders:
        if order.event.notification_id not in found:
            found[order.event.notification_id] = notification(order.event)
    return list(found.values())


def stands(order: Order, standing: dict[str, Document]) -> bool:
    """Whether what stands as the notification is what this order brought. Else it is a sender's retry with the
    same key, sealed with a key of its own: rows of it could never be opened, and the first one's message, which
    is not acked before its rows are written, takes care."""
    content = standing[order.event.notification_id].get("content")
    return bool(content == order.event.content.ciphertext)


def notification(event: IntakeEvent) -> Document:
    webhook = {"webhook_url": event.webhook_url} if event.webhook_url else {}
    demoted = {"demoted_from": event.demoted_from} if event.demoted_from else {}
    # Until it shows how many people it is for.
    listing = {"listing": True} if is_listing(event) else {}
    return {
        "_id": event.notification_id,
        **webhook,
        **listing,
        **demoted,
        **({"everyone": True} if event.audience.everyone else {}),
        "sender": event.sender,
        "kind": event.kind,
        "category": event.category,
        "priority": event.priority,
        "channels": list(event.channels),
        "create_time": moment(event.create_time),
        "expire_time": expire_time(event),
        "recipient_count": event.recipient_count,
        "request_hash": event.request_hash,
        "content": event.content.ciphertext,
    }


def row(order: Order, user_id: str, key: Key, present: datetime) -> Document:
    event = order.event
    decisions = order.decisions[user_id]
    row: Document = {
        "_id": row_id(event.notification_id, user_id),
        "notification_id": event.notification_id,
        "user_id": user_id,
        "create_time": moment(event.create_time),
        "decide_time": present,
        "expire_time": expire_time(event),
        "kind": event.kind,
        "category": event.category,
        "lane": event.priority,
        "sender": event.sender,
        "channels": list(event.channels),
        "wrapped_key": key.wrap(order.content_key),
        "deliveries": {
            subjects.CHANNELS[decision.channel]: state(event, user_id, decision, present)
            for decision in decisions
        },
        "open": [subjects.CHANNELS[decision.channel] for decision in decisions if decision.open],
    }
    if any(is_delivered(row, channel) for channel in _SHOWN):
        row["unread"] = True
    if (number := page(event)) is not None:
        row["page"] = number
    if event.group_hash:
        row["group"] = event.group_hash
    if event.actor_hash:
        row["actor"] = event.actor_hash
    due_times = [decision.due_time for decision in decisions if decision.due_time is not None]
    if due_times:
        row["wake_time"] = min(due_times)
    return row


def is_delivered(row: Document, channel: str) -> bool:
    found = row["deliveries"].get(channel)
    return found is not None and bool(found["state"] == DeliveryState.DELIVERED)


def state(event: IntakeEvent, user_id: str, decision: Decision, present: datetime) -> dict[str, Any]:
    """A delivery as it begins."""
    channel = subjects.CHANNELS[decision.channel]
    made: dict[str, Any] = {
        "id": ids.delivery(event.notification_id, user_id, channel),
        "state": decision.state,
        "reason": decision.reason,
        "update_time": present,
        # Stays, whatever becomes of it: the timeline tells it.
        "decided": decision.state,
    }
    if decision.due_time is not None:
        made["due_time"] = made["decided_due_time"] = decision.due_time
        made["decided_reason"] = decision.reason
    if decision.digest:
        made["digest"] = decision.digest
    if decision.unless_read:
        made["unless_read"] = True
    return made
