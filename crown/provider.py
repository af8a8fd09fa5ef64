"""The seam between the engine and what a channel knows: a provider takes one attempt and says how it ended.
Implementations stand in services/{email,push,sms}; the engine in crown/delivery.py knows none of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, Priority
from crown.outcome import Outcome
from crown.recipients import Destination


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one delivery: all that a provider needs, addresses and content in the clear."""

    delivery_id: str
    notification_id: str
    user_id: str
    # 1 for the first; grows by one with each claim.
    number: int
    kind: str
    category: Category.Type.ValueType
    data: NotificationData
    # At least one; only what no earlier attempt reached.
    destinations: tuple[Destination, ...]
    create_time: datetime
    expire_time: datetime | None
    # The e-mail template; empty: the kind's.
    template_id: str = ""
    # What a device collapses it by; empty: by itself.
    collapse_key: str = ""
    # The person's language tag; empty: not known.
    locale: str = ""
    # The lane that it travels on.
    priority: Priority.Type.ValueType = Priority.PRIORITY_UNSPECIFIED


class Provider(Protocol):
    """One provider of one channel."""

    @property
    def name(self) -> str:
        """The provider's name in ledger, logs and metrics, such as "twilio"."""

    async def send(self, attempt: Attempt) -> Outcome:
        """Hands the attempt to the provider, within its own time limit of at most 10 s. Never retries by
        itself and never raises for what the provider did."""

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        """What became of an attempt that broke off after `since`, where the provider can say: Delivered, or
        Retry where it surely was not sent. None where nobody can tell."""

    async def close(self) -> None:
        """Closes its connections."""
