"""What one push says, whoever carries it. A message that comes twice shows once: Android and browsers replace what
has the same tag, iOS what has the same collapse id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import msgspec
from google.protobuf.struct_pb2 import Struct, Value

from crown.notification.v1.types_pb2 import Category, Priority
from crown.provider import Attempt
from crown.rendering import Links

# No provider keeps a message longer for a device that is off.
TTL_MOST = timedelta(weeks=4)
# The names that FCM keeps for itself; whatever begins with the last two as well.
_RESERVED = ("from", "message_type")
_RESERVED_BEGINNINGS = ("google.", "gcm.")
_TAKEN = "extra."
# Larger whole numbers are not whole any more in JavaScript.
_WHOLE_MOST = 2**53


class Urgency(StrEnum):
    """Whether a device is woken up for it. The values are those of RFC 8030."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Message:
    """A push in the clear, links absolute."""

    title: str
    text: str
    image: str
    link: str
    # What the app finds in it, apart from `extra`: ids, kind, the link as it was sent, the badge.
    data: dict[str, str]
    extra: dict[str, Any]
    # 32 characters that are the same for every attempt at a notification, and for all with one collapse key.
    collapse_id: str
    # Whether the sender gave a collapse key.
    collapses: bool
    ttl: timedelta | None
    expire_time: datetime | None
    urgency: Urgency
    # How many notifications the person has not read; None: not known.
    badge: int | None

    @property
    def texts(self) -> dict[str, str]:
        """`data` and `extra` as names and texts, which is all that FCM carries. Objects become names with dots, lists
        are JSON; a name that is taken gets `extra.` in front."""
        found = dict(self.data)
        for name, value in _flat(self.extra, ""):
            found.setdefault(_free(name, self.data), value)
        return found


def compose(attempt: Attempt, links: Links, moment: datetime, badge: int | None = None) -> Message:
    """What `attempt` says."""
    data, expire_time = attempt.data, attempt.expire_time
    link = links.action(data.action_url)
    found = {
        "notification_id": attempt.notification_id,
        "delivery_id": attempt.delivery_id,
        "kind": attempt.kind,
        # As it was sent, so that the app may open a path within itself.
        "action_url": data.action_url if link else "",
        "badge": "" if badge is None else str(badge),
    }
    return Message(
        title=data.title,
        text=data.message,
        image=links.image(data.image_url),
        link=link,
        data={name: value for name, value in found.items() if value},
        extra=_plain(data.extra) if data.HasField("extra") else {},
        collapse_id=collapse_id(attempt.collapse_key or attempt.notification_id),
        collapses=bool(attempt.collapse_key),
        ttl=None if expire_time is None else min(max(expire_time - moment, timedelta()), TTL_MOST),
        expire_time=expire_time,
        urgency=_urgency(attempt),
        badge=badge,
    )


def collapse_id(text: str) -> str:
    """What a collapse key or a notification's id becomes: 32 characters that tell nothing of it. A browser's push
    service allows no more, APNs 64."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _urgency(attempt: Attempt) -> Urgency:
    if attempt.category == Category.SECURITY or attempt.priority == Priority.CRITICAL:
        return Urgency.HIGH
    return Urgency.LOW if attempt.category == Category.MARKETING else Urgency.NORMAL


def _free(name: str, taken: dict[str, str]) -> str:
    reserved = name in _RESERVED or name.startswith(_RESERVED_BEGINNINGS)
    return f"{_TAKEN}{name}" if reserved or name in taken or not name else name


def _flat(value: dict[str, Any], above: str) -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        match inner:
            case dict():
                yield from _flat(inner, f"{above}{name}.")
            case str():
                yield f"{above}{name}", inner
            case _:
                yield f"{above}{name}", msgspec.json.encode(inner).decode()


def _plain(struct: Struct) -> dict[str, Any]:
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain(value.struct_value)
        case "list_value":
            return [_value(one) for one in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < _WHOLE_MOST else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
