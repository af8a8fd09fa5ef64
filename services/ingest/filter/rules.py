"""The rules: what somebody got already, what was too much in an hour or a day, and what they do not read. Pure, and a
function of the item alone: the filter remembers nothing, so that any number of them can stand side by side."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from crown.notification.v1.filter_service_pb2 import FilterDecision, FilterHistory, FilterItem
from crown.notification.v1.types_pb2 import Category, Channel, FilterAction

# Of what somebody was shown of a category: so many at least say something, and who reads less than one in twenty of
# them does not want to be called for the next one.
_SHOWN_LEAST = 10
_READ_LEAST = 0.05
# When somebody who does not read a category is told of it by other means than the app: once a day, in the evening of
# UTC, since their own zone is not known here.
_EVENING_HOUR = 17
_AN_HOUR = timedelta(hours=1)
_A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is not too much for one person."""

    per_hour: int
    per_day: int


def judge(item: FilterItem, bounds: Bounds, present: datetime) -> FilterDecision:
    """The decision on one item. The first rule that says something wins, the most final one first."""
    history = item.history
    score = worth(history, bounds)
    if history.same_last_day:
        return _decision(item, FilterAction.DROP, "DUPLICATE", 0.0)
    if history.sent_last_day >= bounds.per_day:
        if item.category == Category.MARKETING:
            return _decision(item, FilterAction.DROP, "FATIGUE", score)
        return _hold(item, "FATIGUE", score, present + _A_DAY)
    if history.sent_last_hour >= bounds.per_hour:
        return _hold(item, "FATIGUE", score, present + _AN_HOUR)
    if not is_unread(history):
        return _decision(item, FilterAction.SEND, "", score)
    if Channel.IN_APP in item.channels:
        decision = _decision(item, FilterAction.SEND, "UNREAD", score)
        decision.better_channels.append(Channel.IN_APP)
        return decision
    return _hold(item, "UNREAD", score, evening(present))


def is_unread(history: FilterHistory) -> bool:
    """Whether they read next to nothing of this category."""
    enough = history.shown_lately >= _SHOWN_LEAST
    return enough and history.read_lately < history.shown_lately * _READ_LEAST


def worth(history: FilterHistory, bounds: Bounds) -> float:
    """The part that they read, as far as that can be said, less what they got today; from 0 to 1."""
    read = (history.read_lately + 1) / (history.shown_lately + 2)
    return min(1.0, read) * max(0.0, 1 - history.sent_last_day / (2 * bounds.per_day))


def evening(present: datetime) -> datetime:
    """The next evening."""
    today = present.replace(hour=_EVENING_HOUR, minute=0, second=0, microsecond=0)
    return today if today > present else today + _A_DAY


def _decision(
    item: FilterItem, action: FilterAction.Type.ValueType, reason: str, score: float
) -> FilterDecision:
    return FilterDecision(item_id=item.item_id, action=action, reason=reason, score=score)


def _hold(item: FilterItem, reason: str, score: float, until: datetime) -> FilterDecision:
    decision = _decision(item, FilterAction.HOLD, reason, score)
    decision.better_time.FromDatetime(until)
    return decision
