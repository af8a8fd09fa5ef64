"""A push as Firebase Cloud Messaging takes it, built and checked with Firebase's own classes: one message for
Android, iOS and the web, encoded once for all devices of a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from firebase_admin import messaging

from crown.notification.v1.types_pb2 import DeviceKind
from crown.outcome import Discard
from crown.recipients import Destination
from services.push.message import Message, Urgency
from services.push.shortening import shortened, too_large

PAYLOAD_MOST_BYTES = 4_096
_encode: Callable[[messaging.Message], dict[str, Any]] = messaging._MessagingService.encode_message


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
    made = messaging.Message(
        data=message.texts,
        notification=messaging.Notification(
            message.title or None, message.text or None, message.image or None
        ),
        android=_android(message),
        apns=_apns(message),
        webpush=_webpush(message),
    )
    # The encoder wants a target; whose, does not matter here.
    made.token = "-"  # noqa: S105 -- nor is it a password
    fields = _encode(made)
    del fields["token"]
    return fields


def _android(message: Message) -> messaging.AndroidConfig:
    return messaging.AndroidConfig(
        # A device keeps messages of four keys at most, so only what the sender wants to collapse has one.
        collapse_key=message.collapse_id if message.collapses else None,
        # "normal" waits until the device wakes up by itself.
        priority="normal" if message.urgency == Urgency.LOW else "high",
        ttl=message.ttl,
        notification=messaging.AndroidNotification(
            tag=message.collapse_id, notification_count=message.badge or None
        ),
    )


def _apns(message: Message) -> messaging.APNSConfig:
    headers = {"apns-collapse-id": message.collapse_id}
    if message.urgency == Urgency.LOW:
        headers["apns-priority"] = "5"
    if message.expire_time is not None:
        headers["apns-expiration"] = str(int(message.expire_time.timestamp()))
    # A picture is fetched by the app's extension, which runs only where it may alter the message.
    aps = messaging.Aps(badge=message.badge, mutable_content=True if message.image else None)
    image = messaging.APNSFCMOptions(image=message.image) if message.image else None
    shown = messaging.APNSPayload(aps) if message.image or message.badge is not None else None
    return messaging.APNSConfig(headers, shown, image)


def _webpush(message: Message) -> messaging.WebpushConfig:
    headers = {"Urgency": str(message.urgency)}
    if message.ttl is not None:
        headers["TTL"] = str(int(message.ttl.total_seconds()))
    # FCM takes https only; a public address without it is one of a developer's machine.
    link = message.link if message.link.startswith("https://") else None
    return messaging.WebpushConfig(
        headers=headers,
        notification=messaging.WebpushNotification(tag=message.collapse_id),
        fcm_options=messaging.WebpushFCMOptions(link) if link else None,
    )


def _size(fields: dict[str, Any]) -> int:
    """Bytes of what a device gets, as compact JSON. Each platform gets its own part; the largest counts."""
    both = (fields.get("data"), fields.get("notification"))
    parts: tuple[object, ...] = (
        ({}, fields["android"].get("notification")),
        ({}, fields["webpush"].get("notification")),
        fields["apns"].get("payload"),
    )
    return max(len(msgspec.json.encode((*both, part))) for part in parts)
