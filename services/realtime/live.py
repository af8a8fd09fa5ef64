"""Live events: opened once per message and node, then shared by everybody here who gets them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from crown import vault
from crown.live_position import Position
from crown.notification.v1 import events_pb2, notification_pb2, realtime_service_pb2
from crown.notification.v1.types_pb2 import Category, Channel

NOTIFICATION = "notification"
# What changes an inbox.
INBOX_EVENTS = frozenset({NOTIFICATION, "read", "unread", "seen", "archived", "unarchived", "deleted"})
# Below this, a double holds every integer.
_EXACT = 2.0**53


class Unreadable(Exception):
    """The message is no live event, or was sealed with another key."""


@dataclass(frozen=True, slots=True)
class Live:
    """One event for a topic."""

    position: Position
    source: events_pb2.LiveEvent
    content: bytes

    @property
    def event(self) -> str:
        """Its name on the socket."""
        return self.source.event

    @property
    def payload(self) -> Any:
        """What the socket gets with it. Raises Unreadable."""
        if self.event == NOTIFICATION:
            try:
                found = _notification(self.source, self._data())
            except ValueError as error:
                raise Unreadable("the extra data is no JSON") from error
        else:
            found = self._json()
        return {**found, "offset": self.position.offset, "epoch": self.position.epoch}

    def response(self) -> realtime_service_pb2.SubscribeResponse:
        """The same for a gRPC stream. Raises Unreadable."""
        answer = realtime_service_pb2.SubscribeResponse(
            offset=self.position.offset, epoch=self.position.epoch, event=self.event
        )
        if self.event == NOTIFICATION:
            answer.notification.CopyFrom(_live_notification(self.source, self._data()))
        else:
            answer.payload.update(self._json())
        return answer

    def _data(self) -> notification_pb2.NotificationData:
        try:
            outer = events_pb2.NotificationContent.FromString(self.content)
            return notification_pb2.NotificationData.FromString(outer.data)
        except DecodeError as error:
            raise Unreadable("the content is no notification") from error

    def _json(self) -> dict[str, Any]:
        return _object(self.content)


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """One event for who is on a topic at this moment. `payload` is JSON, or bytes that are nobody's business;
    `origin` is the socket that does not get it back."""

    event: str
    payload: Any
    origin: str = ""

    def response(self) -> realtime_service_pb2.SubscribeResponse:
        """The same for a gRPC stream. Raises Unreadable."""
        answer = realtime_service_pb2.SubscribeResponse(event=self.event)
        if not isinstance(self.payload, bytes):
            answer.payload.update(_object(msgspec.json.encode(self.payload)))
        return answer


@dataclass(frozen=True, slots=True)
class Announcement:
    """A notification for everybody. It has no place among the events of any topic; `payload` is JSON that all who
    get it share."""

    source: events_pb2.LiveEvent
    payload: msgspec.Raw
    told: realtime_service_pb2.SubscribeResponse
    event: str = NOTIFICATION

    @classmethod
    def of(cls, key: vault.Key, source: events_pb2.LiveEvent) -> Announcement:
        """What `source` announces. Raises Unreadable."""
        try:
            outer = events_pb2.NotificationContent.FromString(vault.unseal(key, source.content))
            data = notification_pb2.NotificationData.FromString(outer.data)
            payload = msgspec.Raw(msgspec.json.encode(_notification(source, data)))
        except (DecodeError, vault.VaultError, ValueError) as error:
            raise Unreadable(type(error).__name__) from error
        told = realtime_service_pb2.SubscribeResponse(
            event=NOTIFICATION, notification=_live_notification(source, data)
        )
        return cls(source, payload, told)

    def response(self) -> realtime_service_pb2.SubscribeResponse:
        """The same for a gRPC stream."""
        return self.told


@dataclass(frozen=True, slots=True)
class Resync:
    """Tells a topic that events may be missing before `position`: whoever keeps state reads the inbox."""

    position: Position
    event: str = "resync"

    @property
    def payload(self) -> dict[str, Any]:
        """Shaped as the answer to a join that recovered nothing."""
        return {"recovered": False, "offset": self.position.offset, "epoch": self.position.epoch}


@dataclass(frozen=True, slots=True)
class Removed:
    """These people may be on the topic no longer; all of them where it is closed."""

    user_ids: frozenset[str]
    closed: bool

    def concerns(self, user_id: str) -> bool:
        """True where `user_id` has to go."""
        return self.closed or user_id in self.user_ids


@dataclass(frozen=True, slots=True)
class Stale:
    """What was told of who is here may not be whole."""


Event = Live | Ephemeral | Announcement | Resync
# What a channel may have to act upon itself.
Notice = Removed | Resync | Stale


def _object(text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable("the payload is no JSON object") from error


def read(key: vault.Key, body: bytes, position: Position) -> Live:
    """The live event in `body`. Raises Unreadable."""
    try:
        source = events_pb2.LiveEvent.FromString(body)
        return Live(position, source, vault.unseal(key, source.content))
    except (DecodeError, vault.VaultError) as error:
        raise Unreadable(type(error).__name__) from error


def read_ephemeral(key: vault.Key, body: bytes) -> tuple[Ephemeral | None, Removed | None]:
    """What one message without a sequence brings: an event, or who has to go, or both. Raises Unreadable."""
    try:
        source = events_pb2.EphemeralEvent.FromString(body)
        removed = (
            Removed(frozenset(source.removed), source.closed) if source.removed or source.closed else None
        )
        if not source.event:
            return None, removed
        payload = key.open(source.sealed)
        form = payload if source.binary else msgspec.Raw(payload)
        return Ephemeral(source.event, form, source.origin), removed
    except (DecodeError, vault.VaultError) as error:
        raise Unreadable(type(error).__name__) from error


def ephemeral_body(key: vault.Key, event: str, payload: dict[str, Any] | bytes, origin: str = "") -> bytes:
    """The message that `read_ephemeral` reads."""
    binary = isinstance(payload, bytes)
    plain = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    message = events_pb2.EphemeralEvent(event=event, sealed=key.seal(plain), origin=origin, binary=binary)
    return message.SerializeToString()


def plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """`struct` as JSON has it: a number without a fraction is an integer, as in what other surfaces print.
    Raises ValueError where a number is not finite."""
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _plain_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return _plain_number(value.number_value)
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [_plain_value(item) for item in value.list_value.values]
        case _:
            return None


def _plain_number(number: float) -> int | float:
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _notification(source: events_pb2.LiveEvent, data: notification_pb2.NotificationData) -> dict[str, Any]:
    return {
        "notification_id": source.notification_id,
        "type": Channel.Type.Name(Channel.REAL_TIME),
        "kind": source.kind,
        "category": Category.Type.Name(source.category),
        "data": {
            "title": data.title,
            "message": data.message,
            "action_url": data.action_url,
            "image_url": data.image_url,
            "extra": plain(data.extra),
        },
        "create_time": source.create_time.ToJsonString(),
    }


def _live_notification(
    source: events_pb2.LiveEvent, data: notification_pb2.NotificationData
) -> realtime_service_pb2.LiveNotification:
    return realtime_service_pb2.LiveNotification(
        notification_id=source.notification_id,
        type=Channel.REAL_TIME,
        kind=source.kind,
        category=source.category,
        data=data,
        create_time=source.create_time,
    )
