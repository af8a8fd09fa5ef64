"""What SendGrid tells later about mails, read into the suite's own words.

| event                          | callback     | the address is suppressed                |
| ------------------------------ | ------------ | ---------------------------------------- |
| processed                      | ACCEPTED     |                                          |
| deferred                       | DEFERRED     |                                          |
| delivered                      | DELIVERED    |                                          |
| bounce                         | BOUNCED      | BOUNCE, but not where its type is blocked |
| dropped                        | DROPPED      | for the reason that SendGrid dropped it  |
| open, by a person              | OPENED       |                                          |
| click                          | CLICKED      |                                          |
| spamreport                     | COMPLAINED   | COMPLAINT                                |
| unsubscribe, group_unsubscribe | UNSUBSCRIBED | UNSUBSCRIBE                              |

All else is ignored: what we did not send, events that came later than this table, and opens by Apple's proxy, which
opens everything. SendGrid's texts hold addresses; only its codes and fixed words are taken over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from crown import addresses, ids
from crown.clock import timestamp
from crown.errors import Undecodable
from crown.notification.v1.events_pb2 import CallbackEvent
from crown.notification.v1.types_pb2 import CallbackType, Channel, SuppressionReason

NAME = "sendgrid"

_TYPES: Mapping[str, CallbackType.Type.ValueType] = {
    "processed": CallbackType.ACCEPTED,
    "deferred": CallbackType.DEFERRED,
    "delivered": CallbackType.DELIVERED,
    "bounce": CallbackType.BOUNCED,
    "dropped": CallbackType.DROPPED,
    "open": CallbackType.OPENED,
    "click": CallbackType.CLICKED,
    "spamreport": CallbackType.COMPLAINED,
    "unsubscribe": CallbackType.UNSUBSCRIBED,
    "group_unsubscribe": CallbackType.UNSUBSCRIBED,
}
_SUPPRESSES: Mapping[str, SuppressionReason.Type.ValueType] = {
    "spamreport": SuppressionReason.COMPLAINT,
    "unsubscribe": SuppressionReason.UNSUBSCRIBE,
    "group_unsubscribe": SuppressionReason.UNSUBSCRIBE,
}
# Why it dropped a mail, where that is about the address: it has the address on a list of its own.
_DROPS: Mapping[str, SuppressionReason.Type.ValueType] = {
    "Bounced Address": SuppressionReason.BOUNCE,
    "Spam Reporting Address": SuppressionReason.COMPLAINT,
    "Unsubscribed Address": SuppressionReason.UNSUBSCRIBE,
}
_DELIVERY_ID = re.compile(r"[0-9a-f]{32}")
_NOTIFICATION_ID = re.compile(r"[0-9a-f-]{32,36}")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_BOUNCES = {"bounce", "blocked"}
_YEAR_9999 = 253_402_300_799


class _Event(msgspec.Struct, frozen=True, gc=False):
    event: str
    timestamp: int
    delivery_id: str
    sg_message_id: str
    email: str = ""
    notification_id: str = ""
    type: str = ""
    status: str = ""
    reason: str = ""
    sg_machine_open: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """One event: what rides the bus, and the address with the reason for suppressing it, if there is one."""

    callback: CallbackEvent
    address: str
    suppress: SuppressionReason.Type.ValueType


_events = msgspec.json.Decoder(list[msgspec.Raw])
_event = msgspec.json.Decoder(_Event)


def read(body: bytes, receive_time: datetime) -> list[Told]:
    """The events in the body of a call that mean something here. Raises Undecodable where it is no list."""
    try:
        found = _events.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable("the body is no list of events") from error
    return [told for one in found if (told := _told(one, receive_time)) is not None]


def _told(raw: msgspec.Raw, receive_time: datetime) -> Told | None:
    try:
        event = _event.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    kind = _TYPES.get(event.event)
    known = _DELIVERY_ID.fullmatch(event.delivery_id) and 0 <= event.timestamp <= _YEAR_9999
    if kind is None or not known or event.sg_machine_open:
        return None
    address = addresses.email(event.email, "email")
    recipient = address if isinstance(address, str) else ""
    callback = CallbackEvent(
        callback_id=_callback_id(event),
        delivery_id=event.delivery_id,
        notification_id=event.notification_id if _NOTIFICATION_ID.fullmatch(event.notification_id) else "",
        channel=Channel.EMAIL,
        provider=NAME,
        # What follows the dot is the machine that it came from; the answer to the send was without.
        provider_message_id=event.sg_message_id.partition(".")[0],
        type=kind,
        reason=_reason(event),
        occur_time=timestamp(datetime.fromtimestamp(event.timestamp, UTC)),
        receive_time=timestamp(receive_time),
    )
    return Told(callback, recipient, _suppress(event) if recipient else SuppressionReason.REASON_UNSPECIFIED)


def _callback_id(event: _Event) -> str:
    """Not sg_event_id: that is another one where SendGrid tells the same again. Nor of the address, of which there is
    one for a delivery: whoever reads the id beside the rest could guess it."""
    return ids.callback(NAME, event.sg_message_id, event.event, str(event.timestamp), event.delivery_id)


def _suppress(event: _Event) -> SuppressionReason.Type.ValueType:
    if event.event == "bounce" and event.type == "bounce":
        return SuppressionReason.BOUNCE
    if event.event == "dropped":
        return _DROPS.get(event.reason, SuppressionReason.REASON_UNSPECIFIED)
    return _SUPPRESSES.get(event.event, SuppressionReason.REASON_UNSPECIFIED)


def _reason(event: _Event) -> str:
    """Codes and fixed words; empty where there are none."""
    words = [
        event.type if event.event == "bounce" and event.type in _BOUNCES else "",
        event.reason if event.event == "dropped" and event.reason in _DROPS else "",
        event.status if _STATUS.fullmatch(event.status) else "",
    ]
    return " ".join(word for word in words if word)
