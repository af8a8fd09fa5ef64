"""Who gets what where: pure decisions, one for each person and channel, each with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from crown import preferences
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState
from crown.preferences import Choices
from crown.subjects import DELIVERED


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens on one channel, and why where it is not simply sent."""

    channel: Channel.Type.ValueType
    state: DeliveryState.Type.ValueType
    reason: str = ""
    # When what is DEFERRED is due.
    due_time: datetime | None = None
    # The digest that it becomes an item of; empty: of none.
    digest: str = ""
    # True: an escalation, which does not go out where the person has read it by then.
    unless_read: bool = False

    @property
    def open(self) -> bool:
        """True where a channel service has work to do."""
        return self.state == DeliveryState.PENDING


def decide(
    channels: Sequence[Channel.Type.ValueType],
    category: Category.Type.ValueType,
    choices: Choices,
    expire_time: datetime | None,
    moment: datetime,
) -> list[Decision]:
    """One decision for each channel. Inbox and sockets are done when this is written down; the other
    channels have a service that goes on."""
    if expire_time is not None and expire_time <= moment:
        return [Decision(channel, DeliveryState.EXPIRED, "EXPIRED") for channel in channels]
    return [
        Decision(channel, DeliveryState.PENDING if channel in DELIVERED else DeliveryState.DELIVERED)
        if preferences.allows(choices, category, channel)
        else Decision(channel, DeliveryState.SUPPRESSED, "PREFERENCE_OFF")
        for channel in channels
    ]
