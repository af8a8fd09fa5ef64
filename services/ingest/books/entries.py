"""What the recorder keeps of events: entries of timelines. The same event is the same entry, however often it
comes. Nothing here reads or writes."""

from __future__ import annotations

from datetime import datetime

from crown.clock import moment
from crown.notification.v1.events_pb2 import CallbackEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import DeliveryState, TimelineEvent
from crown.store import Document
from services.ingest.books.callbacks import Told


def of_outcome(event: OutcomeEvent) -> Document:
    """What an attempt came to, or a decision not to attempt. Raises ValueError or OverflowError where a time
    is none."""
    entry: Document = {
        "_id": f"{event.delivery_id}:{event.attempt}:{event.state}",
        "event": TimelineEvent.ATTEMPTED,
        "notification_id": event.notification_id,
        "delivery_id": event.delivery_id,
        "user_id": event.user_id,
        "channel": event.channel,
        "state": event.state,
        "reason": event.reason,
        "attempt": event.attempt,
        "provider": event.provider,
        "provider_message_id": event.provider_message_id,
        "detail": event.detail,
        "time": moment(event.occur_time),
    }
    if event.HasField("due_time"):
        entry["due_time"] = moment(event.due_time)
    return entry


def of_callback(
    event: CallbackEvent,
    told: Told,
    row: Document,
    delivery_id: str,
    state: DeliveryState.Type.ValueType,
) -> Document:
    """What a provider told about a delivery of `row`. `state` is the one that it made; STATE_UNSPECIFIED
    where it made none."""
    return {
        "_id": f"callback:{event.callback_id}",
        "event": TimelineEvent.CALLBACK,
        "callback": event.type,
        "notification_id": row["notification_id"],
        "delivery_id": delivery_id,
        "user_id": row["user_id"],
        "channel": event.channel,
        "state": state,
        "reason": event.reason,
        "provider": event.provider,
        "provider_message_id": event.provider_message_id,
        "time": told.time,
        "occur_time": told.occur_time,
    }


def told(event: CallbackEvent, present: datetime) -> Told:
    """A callback as the rules take it. Raises ValueError or OverflowError where a time is none."""
    receive_time = moment(event.receive_time) if event.HasField("receive_time") else present
    occur_time = moment(event.occur_time) if event.HasField("occur_time") else receive_time
    return Told(event.type, event.provider, event.reason, occur_time, receive_time)
