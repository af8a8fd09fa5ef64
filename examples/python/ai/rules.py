"""The decisions: a score of what is known of the notification and the person, and what follows from it. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ai.weights import Weights
from crown.notification.v1.filter_service_pb2 import FilterDecision, FilterHistory, FilterItem
from crown.notification.v1.types_pb2 import Category, Channel, FilterAction

# Of a kind that the weights do not know, in a category that they do not know.
_MIDDLING = 0.5


def decide(item: FilterItem, weights: Weights, now: datetime) -> FilterDecision:
    """What is to be done with one item."""
    if item.history.same_last_day:
        return _decision(item, FilterAction.DROP, "REPEATED", 0.0)
    worth = score(item, weights)
    if worth < weights.hold:
        return _decision(item, FilterAction.DROP, "LOW_INTEREST", worth)
    if worth < weights.send:
        held = _decision(item, FilterAction.HOLD, "NOT_NOW", worth)
        held.better_time.FromDatetime(next_quiet_time(weights.quiet_times, now))
        return held
    sent = _decision(item, FilterAction.SEND, "", worth)
    if worth >= weights.push_alone and Channel.PUSH in item.channels:
        sent.better_channels.append(Channel.PUSH)
    return sent


def score(item: FilterItem, weights: Weights) -> float:
    """What it is worth to the person, from 0 to 1: by its kind, by what they read, by what they got already."""
    category = weights.categories.get(Category.Type.Name(item.category), _MIDDLING)
    base = weights.kinds.get(item.kind, category)
    return base * reading(item.history) * 0.5 ** (item.history.sent_last_hour / weights.halved_by)


def reading(history: FilterHistory) -> float:
    """The part of this category that they read; 1 where they were shown nothing yet, and near that after little."""
    return (history.read_lately + 2) / (history.shown_lately + 2)


def next_quiet_time(hours: list[int], now: datetime) -> datetime:
    """The next of these hours of the day; always later than now."""
    days = (now.replace(minute=0, second=0, microsecond=0) + timedelta(days=day) for day in (0, 1))
    return next(time for day in days for hour in sorted(hours) if (time := day.replace(hour=hour)) > now)


def _decision(item: FilterItem, action: FilterAction.Type, reason: str, worth: float) -> FilterDecision:
    return FilterDecision(item_id=item.item_id, action=action, reason=reason, score=worth)
