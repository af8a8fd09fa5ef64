"""What there is to tell of a row."""

from __future__ import annotations

from dataclasses import dataclass

from crown.notification.v1.events_pb2 import Sealed
from crown.store import Document


@dataclass(frozen=True, slots=True)
class Notice:
    """A row that is new, or has come due, and what is needed to tell of it."""

    row: Document
    content: Sealed
    # Whether the sender wants to hear what becomes of it.
    webhook: bool
    trace: str
