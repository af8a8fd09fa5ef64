"""What a person can choose, as values, and the rules that follow from it alone: what is on, what is held for a
digest, what has a cap. Quiet hours are worked out in crown/quiet_hours.py; nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from crown import catalogue
from crown.notification.v1.types_pb2 import Category, Channel, Rhythm, Span
from crown.subjects import CHANNELS, DELIVERED

# What makes a sound or lights a screen. The inbox and open sockets are for who is looking.
LOUD = frozenset(CHANNELS[channel] for channel in DELIVERED)

SPANS: Mapping[Span.Type.ValueType, timedelta] = {
    Span.HOUR: timedelta(hours=1),
    Span.DAY: timedelta(days=1),
    Span.WEEK: timedelta(days=7),
}


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to `end`, minutes of the local day, on the weekdays (0 is Monday) on which they begin. Where
    `end` is not after `start` they end on the next day."""

    weekdays: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Digest:
    """How often one comes; `at` is a minute of the local day, `weekday` 0 on Mondays."""

    every: Rhythm.Type.ValueType
    at: int = 0
    weekday: int = 0


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many on one channel in any such span of time. `category` is empty for all but security."""

    category: str
    channel: str
    most: int
    per: Span.Type.ValueType


@dataclass(frozen=True, slots=True)
class Choices:
    """What one person chose. What is not in it has its default."""

    # Category → channel → on.
    categories: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    all_off: bool = False
    quiet_hours: tuple[QuietHours, ...] = ()
    # Empty: the contact's.
    time_zone: str = ""
    locale: str = ""
    # Category → channel → digest.
    digests: Mapping[str, Mapping[str, Digest]] = field(default_factory=dict)
    caps: tuple[Cap, ...] = ()


NOTHING = Choices()


def why_not(choices: Choices, category: str, channel: str) -> str:
    """Why this category is off on this channel, in a word that the timeline knows; empty where it is on. Security
    passes every choice."""
    if category == "security":
        return ""
    if choices.all_off:
        return "ALL_OFF"
    chosen = choices.categories.get(category, {}).get(channel)
    if chosen is not None:
        return "" if chosen else "PREFERENCE_OFF"
    rules = catalogue.category(category)
    if channel in rules.consent:
        return "CONSENT_MISSING"
    return "PREFERENCE_OFF" if channel in rules.off else ""


def refusal(choices: Choices, category: Category.Type.ValueType, channel: Channel.Type.ValueType) -> str:
    """`why_not`, by the contract's numbers."""
    return why_not(choices, catalogue.CATEGORIES[category], CHANNELS[channel])


def digest(choices: Choices, category: str, channel: str) -> Digest | None:
    """The digest that this category is held for on this channel; None: it is sent at once."""
    if category == "security" or channel not in LOUD:
        return None
    found = choices.digests.get(category, {}).get(channel)
    if found is None:
        rhythm = catalogue.category(category).digest.get(channel)
        found = Digest(rhythm.every, rhythm.at, rhythm.weekday) if rhythm else None
    return None if found is None or found.every == Rhythm.INSTANT else found


def caps(choices: Choices, category: str, channel: str) -> Iterator[Cap]:
    """The caps that hold for this category on this channel. A person's own stand instead of the defaults."""
    if category == "security" or channel not in LOUD:
        return
    own = [cap for cap in choices.caps if cap.channel == channel and cap.category in ("", category)]
    yield from own or (
        Cap(category, channel, limit.most, limit.per)
        for limit in catalogue.category(category).caps
        if limit.channel == channel
    )


def spelled_out(choices: Choices) -> dict[str, dict[str, bool]]:
    """Every category and channel, with what was chosen or else the default; what turns all off leaves them as they
    are."""
    own = Choices(choices.categories)
    return {
        category: {channel: not why_not(own, category, channel) for channel in CHANNELS.values()}
        for category in catalogue.CATEGORIES.values()
    }
