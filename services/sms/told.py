"""What a provider told later about a text, in the suite's own words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crown import addresses, ids
from crown.clock import timestamp
from crown.notification.v1.events_pb2 import CallbackEvent
from crown.notification.v1.types_pb2 import CallbackType, Channel


@dataclass(frozen=True, slots=True)
class Told:
    """What rides the bus; and the number that said STOP to the provider itself, in E.164 form, empty where none
    did."""

    callback: CallbackEvent
    stopped: str = ""


def callback(
    provider: str,
    message_id: str,
    word: str,
    kind: CallbackType.Type.ValueType,
    reason: str,
    occur_time: datetime,
    receive_time: datetime,
    delivery_id: str = "",
    notification_id: str = "",
) -> CallbackEvent:
    """The event. `word` is the provider's for what happened: each is told once of a message."""
    return CallbackEvent(
        callback_id=ids.callback(provider, message_id, word),
        delivery_id=delivery_id,
        notification_id=notification_id,
        channel=Channel.SMS,
        provider=provider,
        provider_message_id=message_id,
        type=kind,
        reason=reason,
        occur_time=timestamp(occur_time),
        receive_time=timestamp(receive_time),
    )


def number(value: str) -> str:
    """`value` in E.164 form; empty where it is no number."""
    found = addresses.phone(value, "number")
    return found if isinstance(found, str) else ""
