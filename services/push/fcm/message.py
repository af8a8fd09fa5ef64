"""A push as Firebase Cloud Messaging takes it: one message for Android, iOS and the web, encoded once for all devices
of a person. The SDK's classes would make the same, which a test checks, in as much time as a fifth of a delivery."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from crown.notification.v1.types_pb2 import DeviceKind
from crown.outcome import Discard
from crown.recipients import Destination
from services.push.message import Message, Urgency
from services.push.shortening import shortened, too_large

PAYLOAD_MOST_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of the call, up to the target."""

    start: bytes

    def addressed(self, to: Destination) -> bytes:
        """The body of the call that sends it to one device."""
        target = b"fid" if to.kind == DeviceKind.FID else b"token"
        return b'%b,"%b":%b}}' % (self.start, target, msgspec.json.encode(to.address))


def payload(message: Message) -> Payload | Discard:
    """`message` for FCM, its text shortened where it has to be; Discard where it is larger than 4 kB even so."""
    fields = _fields(message)
    encoded = msgspec.json.encode({"message": fields})
    # No part is larger than the whole.
    surplus = _size(fields) - PAYLOAD_MOST_BYTES if len(encoded) > PAYLOAD_MOST_BYTES else 0
    if surplus <= 0:
        return Payload(encoded[:-2])
    text = shortened(message.text, surplus)
    if text is None:
        return too_large(PAYLOAD_MOST_BYTES + surplus, PAYLOAD_MOST_BYTES)
    return payload(replace(message, text=text))


def _fields(message: Message) -> dict[str, Any]:
    shown = {"title": message.title, "body": message.text, "image": message.image}
    return {
        "data": message.texts,
        "notification": {name: text for name, text in shown.items() if text},
        "android": _android(message),
        "apns": _apns(message),
        "webpush": _webpush(message),
    }


def _android(message: Message) -> dict[str, Any]:
    notification: dict[str, Any] = {"tag": message.collapse_id}
    if message.badge:
        notification["notification_count"] = message.badge
    # "normal" waits until the device wakes up by itself.
    priority = "normal" if message.urgency == Urgency.LOW else "high"
    found: dict[str, Any] = {"priority": priority, "notification": notification}
    if message.ttl is not None:
        found["ttl"] = f"{int(message.ttl.total_seconds())}s"
    if message.collapses:
        # A device keeps messages of four keys at most, so only what the sender wants to collapse has one.
        found["collapse_key"] = message.collapse_id
    return found


def _apns(message: Message) -> dict[str, Any]:
    headers = {"apns-collapse-id": message.collapse_id}
    if message.urgency == Urgency.LOW:
        headers["apns-priority"] = "5"
    if message.expire_time is not None:
        headers["apns-expiration"] = str(int(message.expire_time.timestamp()))
    found: dict[str, Any] = {"headers": headers}
    aps = {} if message.badge is None else {"badge": message.badge}
    if message.image:
        # A picture is fetched by the app's extension, which runs only where it may alter the message.
        aps["mutable-content"] = 1
        found["fcm_options"] = {"image": message.image}
    if aps:
        found["payload"] = {"aps": aps}
    return found


def _webpush(message: Message) -> dict[str, Any]:
    headers = {"Urgency": message.urgency.value}
    if message.ttl is not None:
        headers["TTL"] = str(int(message.ttl.total_seconds()))
    found: dict[str, Any] = {"headers": headers, "notification": {"tag": message.collapse_id}}
    # FCM takes https only; a public address without it is one of a developer's machine.
    if message.link.startswith("https://"):
        found["fcm_options"] = {"link": message.link}
    return found


def _size(fields: dict[str, Any]) -> int:
    """Bytes of what a device gets, as compact JSON. Each platform gets its own part; the largest counts."""
    both = (fields.get("data"), fields.get("notification"))
    parts: tuple[object, ...] = (
        ({}, fields["android"].get("notification")),
        ({}, fields["webpush"].get("notification")),
        fields["apns"].get("payload"),
    )
    return max(len(msgspec.json.encode((*both, part))) for part in parts)
