"""What senders are told of their deliveries: which states, in which words, and the rows that bring them
there. A row of `webhooks` looks as one of the ledger, with one channel and, in `told`, what it tells. Nothing
here reads or writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from crown import ids, tracing
from crown.bus import Outgoing
from crown.clock import timestamp
from crown.ledger import FINAL, collection
from crown.notification.v1.events_pb2 import DeliveryEvent
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, Priority
from crown.store import Document
from crown.subjects import LANES, NAMES, delivery

COLLECTION = collection(Channel.WEBHOOK)
_CHANNEL = NAMES[Channel.WEBHOOK]


@dataclass(frozen=True, slots=True)
class Word:
    """That a delivery has this state since `time`."""

    notification_id: str
    user_id: str
    lane: Priority.Type.ValueType
    delivery_id: str
    channel: Channel.Type.ValueType
    state: DeliveryState.Type.ValueType
    reason: str
    provider: str
    time: datetime
    # The context of the delivery, where its trace is followed.
    trace: str = ""


def is_told(state: DeliveryState.Type.ValueType) -> bool:
    """Whether senders hear of this state: of every one that a delivery can end in, and nothing on the way."""
    return state in FINAL


def row(word: Word, present: datetime) -> Document:
    """The row that brings `word` to its sender: the same word is the same row."""
    state = DeliveryState.Type.Name(word.state)
    key = ids.webhook(word.delivery_id, state)
    told = {
        "notification_id": word.notification_id,
        "delivery_id": word.delivery_id,
        "user_id": word.user_id,
        "channel": Channel.Type.Name(word.channel),
        "state": state,
        "reason": word.reason,
        "provider": word.provider,
        "occur_time": word.time,
    }
    return {
        "_id": key,
        "notification_id": word.notification_id,
        "user_id": word.user_id,
        "create_time": present,
        "expire_time": None,
        "kind": "",
        "category": Category.CATEGORY_UNSPECIFIED,
        "lane": word.lane,
        "channels": [Channel.WEBHOOK],
        "wrapped_key": b"",
        "deliveries": {_CHANNEL: {"id": key, "state": DeliveryState.PENDING, "update_time": present}},
        "open": [_CHANNEL],
        "told": told,
        **({"trace": word.trace} if word.trace else {}),
    }


def message(found: Document) -> Outgoing:
    """What has a row delivered."""
    event = DeliveryEvent(
        delivery_id=found["_id"],
        notification_id=found["notification_id"],
        user_id=found["user_id"],
        channel=Channel.WEBHOOK,
        priority=found["lane"],
    )
    headers = tracing.header(found.get("trace", ""))
    return Outgoing(delivery(_CHANNEL, LANES[found["lane"]]), event.SerializeToString(), headers)


def body(told: Document) -> str:
    """The JSON that the sender gets."""
    stamp = timestamp(told["occur_time"])
    assert stamp is not None
    when = stamp.ToJsonString()
    document = {
        "type": f"notification.delivery.{told['state'].lower()}",
        "timestamp": when,
        "data": {**told, "occur_time": when},
    }
    return msgspec.json.encode(document).decode()
