"""Where a topic lives on the bus."""

from __future__ import annotations

from dataclasses import dataclass

from crown import subjects

_USER = "user:"


@dataclass(frozen=True, slots=True)
class Address:
    """A topic as sockets name it, the subject that it is heard on, and the one that it is kept under."""

    topic: str
    live: str
    source: str


def user(user_id: str) -> Address:
    """What one person gets."""
    return Address(f"{_USER}{user_id}", subjects.live(user_id), subjects.live_source(user_id))
