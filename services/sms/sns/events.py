"""What AWS tells on SNS topics about texts, read into the suite's own words.

| eventType of End User Messaging                             | callback                           |
| ----------------------------------------------------------- | ---------------------------------- |
| TEXT_QUEUED, TEXT_PENDING, TEXT_SENT                        | ACCEPTED                           |
| TEXT_SUCCESSFUL: the carrier has it                         | DELIVERED if final, else ACCEPTED  |
| TEXT_DELIVERED                                              | DELIVERED                          |
| TEXT_BLOCKED, TEXT_CARRIER_BLOCKED, TEXT_SPAM, TEXT_INVALID | BOUNCED                            |
| TEXT_INVALID_MESSAGE, TEXT_UNREACHABLE, TEXT_TTL_EXPIRED    | BOUNCED                            |
| TEXT_CARRIER_UNREACHABLE                                    | BOUNCED                            |
| TEXT_PROTECT_BLOCKED                                        | DROPPED, by a rule of the account  |
| TEXT_UNKNOWN                                                | ACCEPTED: nobody knows             |

| status of SNS's own log of deliveries | callback  |
| ------------------------------------- | --------- |
| SUCCESS                               | DELIVERED |
| FAILURE                               | BOUNCED   |

Texts that people sent come as they are. All else is ignored. AWS's texts are left aside; only its words are taken
over. A number that SNS calls opted out is suppressed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from crown.notification.v1.types_pb2 import CallbackType
from services.sms import told
from services.sms.told import Told

NAME = "sns"

_TYPES: Mapping[str, CallbackType.Type.ValueType] = {
    **dict.fromkeys(("TEXT_QUEUED", "TEXT_PENDING", "TEXT_SENT", "TEXT_UNKNOWN"), CallbackType.ACCEPTED),
    "TEXT_DELIVERED": CallbackType.DELIVERED,
    "TEXT_PROTECT_BLOCKED": CallbackType.DROPPED,
    **dict.fromkeys(
        (
            "TEXT_BLOCKED",
            "TEXT_CARRIER_BLOCKED",
            "TEXT_SPAM",
            "TEXT_INVALID",
            "TEXT_INVALID_MESSAGE",
            "TEXT_UNREACHABLE",
            "TEXT_CARRIER_UNREACHABLE",
            "TEXT_TTL_EXPIRED",
        ),
        CallbackType.BOUNCED,
    ),
}
_STATUSES: Mapping[str, CallbackType.Type.ValueType] = {
    "SUCCESS": CallbackType.DELIVERED,
    "FAILURE": CallbackType.BOUNCED,
}
T = TypeVar("T")

_OPTED_OUT = re.compile(r"opted[ -]?out", re.IGNORECASE)
_ID = re.compile(r"[0-9A-Za-z-]{1,100}")
_WORD = re.compile(r"[A-Z_]{1,64}")
_YEAR_9999_MS = 253_402_300_799_000


@dataclass(frozen=True, slots=True)
class Texted:
    """A text that a person sent. `number` is in E.164 form."""

    number: str
    text: str


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    event_type: str
    message_id: str
    event_timestamp: int
    is_final: bool = False
    message_status: str = ""


class _Named(msgspec.Struct, frozen=True, rename="camel"):
    message_id: str
    timestamp: str


class _Delivery(msgspec.Struct, frozen=True, rename="camel"):
    destination: str = ""
    provider_response: str = ""


class _Logged(msgspec.Struct, frozen=True):
    notification: _Named
    status: str
    delivery: _Delivery = _Delivery()


class _Inbound(msgspec.Struct, frozen=True, rename="camel"):
    origination_number: str
    message_body: str


def read(message: str, receive_time: datetime) -> Told | Texted | None:
    """What a signed message tells; None where it means nothing here."""
    if (event := _decoded(message, _Event)) is not None:
        return _of_event(event, receive_time)
    if (logged := _decoded(message, _Logged)) is not None:
        return _of_log(logged, receive_time)
    if (inbound := _decoded(message, _Inbound)) is not None:
        number = told.number(inbound.origination_number)
        return Texted(number, inbound.message_body) if number else None
    return None


def _of_event(event: _Event, receive_time: datetime) -> Told | None:
    kind = _TYPES.get(event.event_type)
    if event.event_type == "TEXT_SUCCESSFUL":
        kind = CallbackType.DELIVERED if event.is_final else CallbackType.ACCEPTED
    known = _ID.fullmatch(event.message_id) and 0 <= event.event_timestamp <= _YEAR_9999_MS
    if kind is None or not known:
        return None
    moment = datetime.fromtimestamp(event.event_timestamp / 1_000, UTC)
    word = event.message_status if _WORD.fullmatch(event.message_status) else ""
    reason = "" if kind == CallbackType.DELIVERED else word or event.event_type
    return Told(told.callback(NAME, event.message_id, event.event_type, kind, reason, moment, receive_time))


def _of_log(logged: _Logged, receive_time: datetime) -> Told | None:
    kind, message_id = _STATUSES.get(logged.status), logged.notification.message_id
    in_utc = _in_utc(logged.notification.timestamp)
    if in_utc is None or kind is None or not _ID.fullmatch(message_id):
        return None
    stopped = bool(_OPTED_OUT.search(logged.delivery.provider_response))
    reason = ("OPTED_OUT" if stopped else logged.status) if kind == CallbackType.BOUNCED else ""
    event = told.callback(NAME, message_id, logged.status, kind, reason, in_utc, receive_time)
    return Told(event, told.number(logged.delivery.destination) if stopped else "")


def _in_utc(text: str) -> datetime | None:
    """The moment in `text`; None where it is none, also because its zone takes it out of the calendar."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _decoded(message: str, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(message, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
