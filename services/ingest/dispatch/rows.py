"""The documents that dispatch writes: notifications, and the rows of people. Nothing here reads or writes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from crown import ids, subjects, tracing
from crown.clock import moment
from crown.erasures import ERASED
from crown.ledger import row_id
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.types_pb2 import DeliveryState
from crown.store import Document
from crown.vault import Key
from services.ingest.decide import Decision
from services.ingest.dispatch.orders import Form, Order, expire_time, is_listing, page, send_time

# What the app itself shows, and counts until it is read.
_HIDDEN = ("LOCAL_TIME", ERASED)
_SHOWN = ("in_app", "real_time")


def notifications(orders: list[Order]) -> list[Document]:
    """The documents of these orders; the parts of one notification share theirs, and of retries with the same
    key the first one counts."""
    found: dict[str, Document] = {}
    for order in orders:
        if order.event.notification_id not in found:
            made = found[order.event.notification_id] = notification(order.event)
            if tracing.is_sampled(order.trace):
                made["trace_id"] = tracing.trace_id(order.trace)
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
        "send_time": send_time(event),
        "recipient_count": event.recipient_count,
        "request_hash": event.request_hash,
        "content": event.content.ciphertext,
    }


def row(order: Order, user_id: str, key: Key, present: datetime) -> Document:
    """The row of one of its people. It shares what is in the form with others: change nothing in it."""
    decisions = order.decisions[user_id]
    form = order.form
    if form is None or form.decisions is not decisions:
        form = order.form = _form(order.event, decisions, present)
    notification_id = order.event.notification_id
    deliveries = {
        channel: {"id": ids.delivery(notification_id, user_id, channel), **state}
        for channel, state in form.deliveries
    }
    return {
        "_id": row_id(notification_id, user_id),
        "user_id": user_id,
        **form.fields,
        "wrapped_key": key.wrap(order.content_key),
        "deliveries": deliveries,
    }


def _form(event: IntakeEvent, decisions: list[Decision], present: datetime) -> Form:
    fields: Document = {
        "notification_id": event.notification_id,
        "create_time": moment(event.create_time),
        "decide_time": present,
        "expire_time": expire_time(event),
        "kind": event.kind,
        "category": event.category,
        "lane": event.priority,
        "sender": event.sender,
        "channels": list(event.channels),
        "open": [subjects.CHANNELS[decision.channel] for decision in decisions if decision.open],
    }
    deliveries = [(subjects.CHANNELS[decision.channel], _state(decision, present)) for decision in decisions]
    if any(channel in _SHOWN and state["state"] == DeliveryState.DELIVERED for channel, state in deliveries):
        fields["unread"] = fields["unseen"] = True
    if (number := page(event)) is not None:
        fields["page"] = number
    if any(decision.reason in _HIDDEN for decision in decisions):
        fields["hidden"] = True
    if event.group_hash:
        fields["group"] = event.group_hash
    if event.actor_hash:
        fields["actor"] = event.actor_hash
    due_times = [decision.due_time for decision in decisions if decision.due_time is not None]
    if due_times:
        fields["wake_time"] = min(due_times)
    return Form(decisions, fields, deliveries)


def is_delivered(row: Document, channel: str) -> bool:
    found = row["deliveries"].get(channel)
    return found is not None and bool(found["state"] == DeliveryState.DELIVERED)


def _state(decision: Decision, present: datetime) -> dict[str, Any]:
    """A delivery as it begins, but for its id."""
    made: dict[str, Any] = {
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
