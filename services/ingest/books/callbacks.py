"""What a provider's later word makes of a delivery, as pure rules. The state only ever rises: whatever we
know by ourselves, then DELIVERED, BOUNCED, READ. So callbacks may come in any order, and as often as they
like.

| callback                         | state at least       | besides     |
| -------------------------------- | -------------------- | ----------- |
| ACCEPTED, DEFERRED, UNSUBSCRIBED | as it is             |             |
| DELIVERED, COMPLAINED            | DELIVERED            |             |
| BOUNCED, DROPPED                 | BOUNCED, with reason |             |
| OPENED                           | READ                 | open_time   |
| CLICKED                          | READ                 | click_time  |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from crown.notification.v1.types_pb2 import CallbackType, DeliveryState

# What was delivered can still come back, and what was read has surely arrived. All other states are what we
# know by ourselves, and the provider knows better: that we gave up, or held it back after an attempt that
# nobody could tell the end of, does not keep it from arriving.
_RANK: Mapping[DeliveryState.Type.ValueType, int] = {
    DeliveryState.DELIVERED: 1,
    DeliveryState.BOUNCED: 2,
    DeliveryState.READ: 3,
}
# The states that only a provider's word makes, on channels that have providers.
TOLD = frozenset(_RANK)
_MEANS: Mapping[CallbackType.Type.ValueType, DeliveryState.Type.ValueType] = {
    CallbackType.DELIVERED: DeliveryState.DELIVERED,
    CallbackType.BOUNCED: DeliveryState.BOUNCED,
    CallbackType.DROPPED: DeliveryState.BOUNCED,
    CallbackType.OPENED: DeliveryState.READ,
    CallbackType.CLICKED: DeliveryState.READ,
    # Nobody reports what never came.
    CallbackType.COMPLAINED: DeliveryState.DELIVERED,
}
# Providers' clocks have whole seconds, and are not ours.
_SKEW = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Standing:
    """A delivery, as far as callbacks change it. `provider` made the last attempt that was recorded."""

    state: DeliveryState.Type.ValueType
    reason: str = ""
    provider: str = ""
    open_time: datetime | None = None
    click_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider told: when it happened by its clock, and when we heard of it by ours."""

    type: CallbackType.Type.ValueType
    provider: str
    reason: str
    occur_time: datetime
    receive_time: datetime

    @property
    def time(self) -> datetime:
        """Where it stands in the story. What we heard of at once happened when we heard of it, or it would
        stand before the attempt that it is about; nothing happened later than we heard of it."""
        if self.occur_time > self.receive_time - _SKEW:
            return self.receive_time
        return self.occur_time


def apply(standing: Standing, told: Told) -> Standing:
    """What stands after `told`: the same where it says nothing new."""
    match told.type:
        case CallbackType.OPENED:
            standing = replace(standing, open_time=_first(standing.open_time, told.time))
        case CallbackType.CLICKED:
            standing = replace(standing, click_time=_first(standing.click_time, told.time))
    state = _MEANS.get(told.type)
    if state is None or rank(state) <= rank(standing.state):
        return standing
    if state != DeliveryState.BOUNCED:
        return replace(standing, state=state, reason="")
    if standing.provider not in {"", told.provider}:
        # An earlier attempt's, by a provider that another one has taken over from.
        return standing
    word = CallbackType.Type.Name(told.type)
    return replace(standing, state=state, reason=f"{word}: {told.reason}" if told.reason else word)


def rank(state: DeliveryState.Type.ValueType) -> int:
    """How much is known of a delivery in this state."""
    return _RANK.get(state, 0)


def below(state: DeliveryState.Type.ValueType) -> list[DeliveryState.Type.ValueType]:
    """The states that a delivery may leave for this one."""
    return [value for value in DeliveryState.Type.values() if rank(value) < rank(state)]


def _first(known: datetime | None, told: datetime) -> datetime:
    return told if known is None else min(known, told)
