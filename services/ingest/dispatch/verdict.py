"""What a filter's answer does to decisions that were taken already. Pure; nothing in an answer is believed that has
not been looked at."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from crown.clock import moment as read_moment
from crown.notification.v1.filter_service_pb2 import FilterDecision
from crown.notification.v1.types_pb2 import Channel, DeliveryState, FilterAction
from crown.subjects import DELIVERED
from services.ingest.decide import Decision

HOLD_MOST = timedelta(days=7)
HOLD_REASON = "FILTER_HOLD"

# Where it is said what the filter said; the word is the filter's own.
_FILTERED = "FILTERED: {}"
# In a timeline stand words, and nothing that could be content.
_WORD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_OTHER = "OTHER"
_BETTER_CHANNEL = "BETTER_CHANNEL"
# What has come to its end before a filter was asked.
_ENDED = frozenset({DeliveryState.SUPPRESSED, DeliveryState.EXPIRED, DeliveryState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer that makes sense. Without `action`, time and channels it changes nothing."""

    action: FilterAction.Type.ValueType = FilterAction.SEND
    reason: str = ""
    # Until when it is held.
    due_time: datetime | None = None
    # Of push, e-mail and SMS these are used; empty: all.
    channels: frozenset[Channel.Type.ValueType] = frozenset()


SEND = Verdict()


def undecided(decisions: Iterable[Decision]) -> list[Channel.Type.ValueType]:
    """The channels that there is something to ask about."""
    return [decision.channel for decision in decisions if decision.state not in _ENDED]


def read(answer: FilterDecision, expire_time: datetime | None, present: datetime) -> Verdict | None:
    """The answer, as far as it makes sense; None where it makes none."""
    channels = frozenset(answer.better_channels)
    match answer.action:
        case FilterAction.ACTION_UNSPECIFIED | FilterAction.SEND:
            return Verdict(channels=channels)
        case FilterAction.DROP:
            word = answer.reason if _WORD.fullmatch(answer.reason) else _OTHER
            return Verdict(FilterAction.DROP, word)
        case FilterAction.HOLD:
            due_time = _due_time(answer, present)
            if due_time is None:
                return None
            if due_time <= present or (expire_time is not None and due_time >= expire_time):
                return Verdict(channels=channels)
            return Verdict(FilterAction.HOLD, due_time=due_time, channels=channels)
        case _:
            return None


def _due_time(answer: FilterDecision, present: datetime) -> datetime | None:
    if not answer.HasField("better_time"):
        return None
    try:
        return min(read_moment(answer.better_time), present + HOLD_MOST)
    except (ValueError, OverflowError):
        return None


def apply(decisions: list[Decision], verdict: Verdict) -> list[Decision]:
    """The decisions, with the verdict; the same list where it changes nothing. What has ended stays as it is, and
    what waits already waits as it did, unless it is dropped."""
    if verdict == SEND:
        return decisions
    if verdict.action == FilterAction.DROP:
        return [_suppressed(one, verdict.reason) if one.state not in _ENDED else one for one in decisions]
    wanted = verdict.channels & frozenset(undecided(decisions))
    return [_one(decision, verdict, wanted) for decision in decisions]


def _one(decision: Decision, verdict: Verdict, wanted: Collection[Channel.Type.ValueType]) -> Decision:
    if decision.channel not in DELIVERED or decision.state in _ENDED:
        return decision
    if wanted and decision.channel not in wanted:
        return _suppressed(decision, _BETTER_CHANNEL)
    if verdict.action == FilterAction.HOLD and decision.open:
        return replace(decision, state=DeliveryState.DEFERRED, reason=HOLD_REASON, due_time=verdict.due_time)
    return decision


def _suppressed(decision: Decision, word: str) -> Decision:
    # Without what it waited for: nothing is to happen any more.
    return Decision(decision.channel, DeliveryState.SUPPRESSED, _FILTERED.format(word))
