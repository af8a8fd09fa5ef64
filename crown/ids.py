"""Ids. A notification sent with an idempotency key gets an id that is a function of it, so that a retry on
any replica, at any time, finds the same notification; without a key it gets a UUIDv7."""

from __future__ import annotations

from hashlib import blake2b
from uuid import UUID

import uuid_utils

_SEPARATOR = "\x00"


def _digest(person: bytes, *parts: str) -> bytes:
    # Every part is free of NUL, so that no two lists of parts give the same bytes.
    return blake2b(_SEPARATOR.join(parts).encode(), digest_size=16, person=person).digest()


def fresh_notification() -> str:
    """A new id that sorts by time."""
    return str(uuid_utils.uuid7())


def fresh_request() -> str:
    """The id of a call whose caller gave it none. Made for each, so by the quicker of two libraries."""
    return str(uuid_utils.uuid4())


def keyed_notification(sender: str, method: str, key: str, index: int) -> str:
    """The id of item `index` of a call of `method` by service `sender` with idempotency key `key`."""
    raw = bytearray(_digest(b"notification", sender, method, key, str(index)))
    raw[6] = 0x80 | (raw[6] & 0x0F)  # UUID version 8: free-form, by RFC 9562
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return str(UUID(bytes=bytes(raw)))


def delivery(notification_id: str, user_id: str, channel: str) -> str:
    """The id of one notification on one channel to one person."""
    return _digest(b"delivery", notification_id, user_id, channel).hex()


def webhook(delivery_id: str, state: str) -> str:
    """The id of the word to a sender that a delivery has this state."""
    return _digest(b"webhook", delivery_id, state).hex()


def direct(sender: str, channel: str, key: str) -> str:
    """The id of a direct send by service `sender` with idempotency key `key`."""
    return _digest(b"direct", sender, channel, key).hex()


def device(token: str) -> str:
    """The id of a device: a function of its token, so that registering again finds it."""
    return _digest(b"device", token).hex()


def callback(provider: str, *parts: str) -> str:
    """The id of what a provider told later: the same for every repetition of it, if `parts` are."""
    return _digest(b"callback", provider, *parts).hex()
