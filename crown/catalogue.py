"""What can happen: each kind with its category and the channels it takes where the sender names none; and what
holds in each category for people who chose nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crown.notification.v1.types_pb2 import Category, Channel, Priority, Rhythm, Span

_QUIET = (Channel.IN_APP, Channel.REAL_TIME)
_LOUD = (*_QUIET, Channel.PUSH)
BULK_FROM = 100

CATEGORIES: Mapping[Category.Type.ValueType, str] = {
    Category.ACTIVITY: "activity",
    Category.SOCIAL: "social",
    Category.SYSTEM: "system",
    Category.MARKETING: "marketing",
    Category.SECURITY: "security",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of happening."""

    category: Category.Type.ValueType
    channels: tuple[Channel.Type.ValueType, ...]
    # True: it is not held back by quiet hours.
    passes_quiet_hours: bool = False
    # False: it is never an item of a digest.
    digestable: bool = True


@dataclass(frozen=True, slots=True)
class DefaultDigest:
    """A digest that who chose none gets; `at` is a minute of the local day, `weekday` 0 on Mondays."""

    every: Rhythm.Type.ValueType
    at: int = 0
    weekday: int = 0


@dataclass(frozen=True, slots=True)
class DefaultCap:
    """At most so many on one channel in any such span."""

    channel: str
    most: int
    per: Span.Type.ValueType


@dataclass(frozen=True, slots=True)
class CategoryRules:
    """What holds in a category where a person chose nothing; channels by their names."""

    # Channels that it is off on.
    off: frozenset[str] = frozenset()
    # Channels that it is off on until the person turns it on.
    consent: frozenset[str] = frozenset()
    digest: Mapping[str, DefaultDigest] = field(default_factory=dict)
    caps: tuple[DefaultCap, ...] = ()


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
_RULES: Mapping[str, CategoryRules] = {
    "marketing": CategoryRules(consent=frozenset({"push", "email", "sms"})),
}
_NO_RULES = CategoryRules()


def kind(name: str) -> Kind:
    """The kind called `name`; without a name, the one of everyday activity. Raises KeyError."""
    return KINDS[name] if name else _NO_KIND


def kind_or_default(name: str) -> Kind:
    """The kind called `name`; the one of everyday activity where the catalogue has none of that name any more."""
    return KINDS.get(name, _NO_KIND)


def category(name: str) -> CategoryRules:
    """The rules of the category called `name`."""
    return _RULES.get(name, _NO_RULES)


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
