"""Where a topic lives on the bus."""

from __future__ import annotations

from dataclasses import dataclass

from crown import subjects


@dataclass(frozen=True, slots=True)
class Address:
    """A topic as sockets name it, the subject that it is heard on, and the one that it is kept under."""

    topic: str
    live: str
    source: str


def user(user_id: str) -> Address:
    """What one person gets."""
    topic = subjects.user_topic(user_id)
    return Address(topic, subjects.live(topic), subjects.live_source(topic))
