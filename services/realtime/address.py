"""Where a topic lives on the bus."""

from __future__ import annotations

from dataclasses import dataclass

from crown import subjects


@dataclass(frozen=True, slots=True)
class Address:
    """A topic, the subject that it is heard on, and the one that it is kept under."""

    topic: str
    live: str
    source: str


def of(topic: str) -> Address:
    """Where `topic` lives. Raises ValueError where it is none."""
    return Address(topic, subjects.live(topic), subjects.live_source(topic))


def user(user_id: str) -> Address:
    """What one person gets."""
    return of(subjects.user_topic(user_id))
