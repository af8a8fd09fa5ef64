"""What one push message says, built and checked with Firebase's own classes. A message that comes twice shows
once: Android replaces what has the same tag, iOS what has the same collapse id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
from firebase_admin import messaging
from google.protobuf.json_format import MessageToDict

from crown.notification.v1.types_pb2 import Category, DeviceKind
from crown.outcome import Discard
from crown.provider import Attempt
from crown.recipients import Destination
from crown.rendering import Links

PAYLOAD_MOST_BYTES = 4_096
# FCM keeps a message for a device that is off no longer than this.
_TTL_MOST = timedelta(weeks=4)
_encode: Callable[[messaging.Message], dict[str, Any]] = messaging._MessagingService.encode_message

# A message as FCM takes it, without its target.
Payload = dict[str, Any]


def compose(attempt: Attempt, links: Links, moment: datetime) -> Payload | Discard:
    """The message of `attempt` without its target; Discard where it is larger than 4 kB."""
    message = messaging.Message(
        data=_data(attempt, links),
        notification=messaging.Notification(
            attempt.data.title or None,
            attempt.data.message or None,
            links.image(attempt.data.image_url) or None,
        ),
        android=_android(attempt, moment),
        apns=_apns(attempt),
        webpush=_webpush(attempt, links, moment),
    )
    # The encoder wants a target; whose, does not matter here.
    message.token = "-"  # noqa: S105 -- nor is it a password
    payload = _encode(message)
    del payload["token"]
    size = _bytes(payload)
    return Discard("PAYLOAD_TOO_LARGE", f"{size} bytes") if size > PAYLOAD_MOST_BYTES else payload


def addressed(payload: Payload, to: Destination) -> bytes:
    """The body of the call that sends `payload` to one device."""
    target = "fid" if to.kind == DeviceKind.FID else "token"
    return msgspec.json.encode({"message": {**payload, target: to.address}})


def collapse_id(notification_id: str) -> str:
    """32 characters that are the same for every attempt at a notification; APNs allows 64."""
    return blake2b(notification_id.encode(), digest_size=16).hexdigest()


def _data(attempt: Attempt, links: Links) -> dict[str, str]:
    """What the app finds in the message; FCM carries texts only."""
    data = attempt.data
    found = {
        "notification_id": attempt.notification_id,
        "delivery_id": attempt.delivery_id,
        "kind": attempt.kind,
        # As it was sent, so that the app may open a path within itself.
        "action_url": data.action_url if links.action(data.action_url) else "",
        "extra": msgspec.json.encode(MessageToDict(data.extra)).decode() if data.HasField("extra") else "",
    }
    return {name: value for name, value in found.items() if value}


def _android(attempt: Attempt, moment: datetime) -> messaging.AndroidConfig:
    return messaging.AndroidConfig(
        # NORMAL waits until the device wakes up by itself.
        priority="normal" if attempt.category == Category.MARKETING else "high",
        ttl=_ttl(attempt, moment),
        notification=messaging.AndroidNotification(tag=collapse_id(attempt.notification_id)),
    )


def _apns(attempt: Attempt) -> messaging.APNSConfig:
    headers = {"apns-collapse-id": collapse_id(attempt.notification_id)}
    if attempt.expire_time is not None:
        headers["apns-expiration"] = str(int(attempt.expire_time.timestamp()))
    return messaging.APNSConfig(headers=headers)


def _webpush(attempt: Attempt, links: Links, moment: datetime) -> messaging.WebpushConfig:
    link = links.action(attempt.data.action_url)
    ttl = _ttl(attempt, moment)
    return messaging.WebpushConfig(
        headers={"TTL": str(int(ttl.total_seconds()))} if ttl is not None else None,
        notification=messaging.WebpushNotification(tag=collapse_id(attempt.notification_id)),
        # FCM takes https only; a public address without it is one of a developer's machine.
        fcm_options=messaging.WebpushFCMOptions(link) if link.startswith("https://") else None,
    )


def _ttl(attempt: Attempt, moment: datetime) -> timedelta | None:
    if attempt.expire_time is None:
        return None
    return min(max(attempt.expire_time - moment, timedelta()), _TTL_MOST)


def _bytes(payload: Payload) -> int:
    """Size of what a device gets, as compact JSON. Each platform gets its own part; the largest counts."""
    both = (payload.get("data"), payload.get("notification"))
    parts = (
        payload.get("android", {}).get("notification"),
        payload.get("apns", {}).get("payload"),
        payload.get("webpush", {}).get("notification"),
    )
    return max(len(msgspec.json.encode((*both, part))) for part in parts)
