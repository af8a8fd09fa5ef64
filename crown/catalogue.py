"""What can happen: each kind with its category and the channels it takes where the sender names none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crown.notification.v1.types_pb2 import Category, Channel, Priority

_QUIET = (Channel.IN_APP, Channel.REAL_TIME)
_LOUD = (*_QUIET, Channel.PUSH)
BULK_FROM = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of happening."""

    category: Category.Type.ValueType
    channels: tuple[Channel.Type.ValueType, ...]


KINDS: Mapping[str, Kind] = {
    "like": Kind(Category.ACTIVITY, _QUIET),
    "comment": Kind(Category.ACTIVITY, _LOUD),
    "mention": Kind(Category.ACTIVITY, _LOUD),
    "friend_request": Kind(Category.SOCIAL, _LOUD),
    "follow": Kind(Category.SOCIAL, _QUIET),
    "maintenance": Kind(Category.SYSTEM, (Channel.IN_APP, Channel.EMAIL)),
    "update": Kind(Category.SYSTEM, _QUIET),
    "campaign": Kind(Category.MARKETING, (Channel.IN_APP, Channel.EMAIL)),
    "promotion": Kind(Category.MARKETING, (Channel.IN_APP, Channel.PUSH)),
    "login_alert": Kind(Category.SECURITY, (*_LOUD, Channel.EMAIL)),
    "password_change": Kind(Category.SECURITY, (*_LOUD, Channel.EMAIL, Channel.SMS)),
    "media_ready": Kind(Category.SYSTEM, _LOUD),
}
_NO_KIND = Kind(Category.ACTIVITY, _QUIET)


def kind(name: str) -> Kind:
    """The kind called `name`; without a name, the one of everyday activity. Raises KeyError."""
    return KINDS[name] if name else _NO_KIND


def priority(
    asked: Priority.Type.ValueType, category: Category.Type.ValueType, recipients: int
) -> Priority.Type.ValueType:
    """The lane: as asked, else critical for security, bulk for marketing and for many people."""
    if asked:
        return asked
    if category == Category.SECURITY:
        return Priority.CRITICAL
    if category == Category.MARKETING or recipients > BULK_FROM:
        return Priority.BULK
    return Priority.NORMAL
