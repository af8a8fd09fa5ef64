"""The story of a notification in plain words: one sentence for each entry of its timeline. Nothing here asks
anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from crown.notification.v1.notification_pb2 import Notification
from crown.notification.v1.timeline_pb2 import TimelineEntry
from crown.notification.v1.types_pb2 import (
    CallbackType,
    Category,
    Channel,
    DeliveryState,
    NotificationStatus,
    Priority,
    TimelineEvent,
)

# What a stable word means; one that is not here is told as it is.
_REASONS = {
    "PREFERENCE_OFF": "the person has turned this off",
    "ALL_OFF": "the person has turned everything off",
    "CONSENT_MISSING": "marketing needs the person's consent, and there is none",
    "FREQUENCY_CAP": "the person has had as many as they allow",
    "NO_ADDRESS": "there is no address to send to",
    "ERASED": "the person was erased",
    "EXPIRED": "its time had passed",
    "READ": "the person had read it",
    "QUIET_HOURS": "the person's quiet hours",
    "DIGEST": "the person's next digest",
    "LOCAL_TIME": "its local time",
    "ESCALATION": "the time until it escalates",
    "FILTER_HOLD": "the time that the filter named",
    "RETRIES_EXHAUSTED": "its attempts are used up",
    "FILTERED": "the filter held it back",
    "ADDRESS_SUPPRESSED": "nothing is sent to this address any more",
}
_DECIDED = {
    DeliveryState.PENDING: "send it now",
    DeliveryState.DELIVERED: "put there at once",
    DeliveryState.SUPPRESSED: "do not send it",
    DeliveryState.EXPIRED: "too late to send it",
    DeliveryState.CANCELLED: "cancelled",
    DeliveryState.DIGESTED: "went out in a digest",
}
_ENDED = {
    DeliveryState.DELIVERED_TO_PROVIDER: "the provider took it",
    DeliveryState.RETRYING: "it failed",
    DeliveryState.FAILED: "it failed for good",
    DeliveryState.UNKNOWN: "nobody can say whether it arrived",
    DeliveryState.SUPPRESSED: "it was not sent",
    DeliveryState.EXPIRED: "its time had passed",
    DeliveryState.CANCELLED: "it was cancelled",
    DeliveryState.DELIVERED: "it arrived",
    DeliveryState.BOUNCED: "it came back",
    DeliveryState.READ: "it was read",
}
_TOLD = {
    CallbackType.ACCEPTED: "it is on its way",
    CallbackType.DELIVERED: "it arrived",
    CallbackType.DEFERRED: "the other side asked to wait",
    CallbackType.BOUNCED: "it came back",
    CallbackType.DROPPED: "it was not sent on",
    CallbackType.OPENED: "the person opened it",
    CallbackType.CLICKED: "the person followed a link",
    CallbackType.COMPLAINED: "the person reported it as spam",
    CallbackType.UNSUBSCRIBED: "the person wants no more",
}
_STATUS = {
    NotificationStatus.ACCEPTED: "is accepted",
    NotificationStatus.IN_PROGRESS: "is under way",
    NotificationStatus.DONE: "is done",
    NotificationStatus.SCHEDULED: "waits for its time",
    NotificationStatus.CANCELLED: "was cancelled",
}


def headline(found: Notification) -> str:
    """What it is, and how far."""
    what = f"A {found.kind or 'notification'} of {found.sender}"
    people = "" if found.recipient_count == 1 else f" for {found.recipient_count} people"
    lane = _word(Priority, found.priority)
    status = _STATUS.get(found.status, "is in a state that this version does not know")
    return f"{what}{people} ({_word(Category, found.category)}, lane {lane}) {status}."


def lines(entries: Iterable[TimelineEntry]) -> Iterator[tuple[str, str]]:
    """For each entry: when, by the clock of UTC, and a sentence."""
    for entry in entries:
        yield clock(entry.time), sentence(entry)


def sentence(entry: TimelineEntry) -> str:
    """What the entry tells."""
    who = entry.user_id or "everybody"
    where = f"{who} by {_channel(entry.channel)}" if entry.channel else who
    match entry.event:
        case TimelineEvent.ACCEPTED:
            return "It was stored, and its sender heard yes."
        case TimelineEvent.KEY_REUSED:
            return "Its idempotency key came again with another body, which was not taken."
        case TimelineEvent.SCHEDULED:
            return f"It waits for {_until(entry)}."
        case TimelineEvent.DECIDED:
            return f"Decided for {where}: {_decision(entry)}."
        case TimelineEvent.RELEASED:
            return f"The time came for {where}: {_decision(entry)}."
        case TimelineEvent.ATTEMPTED:
            return f"{_attempt(entry)} for {where}: {_end(entry)}."
        case TimelineEvent.CALLBACK:
            told = _TOLD.get(entry.callback, "something new")
            return f"{entry.provider or 'The provider'} told of {where}: {told}{_why(entry.reason)}."
        case TimelineEvent.READ:
            return f"{who} read it in the app."
        case TimelineEvent.CANCELLED:
            return f"Its sender cancelled it for {where}." if entry.user_id else "Its sender cancelled it."
        case TimelineEvent.REPLAYED:
            return f"An operator had it delivered again to {where}."
        case TimelineEvent.DISCARDED:
            return f"An operator discarded the dead letter of {where}."
        case _:
            return f"Something that this version does not know happened to {where}."


def clock(stamp: Timestamp) -> str:
    """Day and time in UTC, to the millisecond."""
    moment = stamp.ToDatetime(UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def _decision(entry: TimelineEntry) -> str:
    if entry.state == DeliveryState.DEFERRED:
        return f"wait for {reason(entry.reason)}, until {_until(entry)}"
    return f"{_DECIDED.get(entry.state, _word(DeliveryState, entry.state))}{_why(entry.reason)}"


def _attempt(entry: TimelineEntry) -> str:
    by = f" by {entry.provider}" if entry.provider else ""
    return f"Attempt {entry.attempt}{by}" if entry.attempt else "Without an attempt"


def _end(entry: TimelineEntry) -> str:
    told = _ENDED.get(entry.state, _word(DeliveryState, entry.state)) + _why(entry.reason)
    if entry.detail:
        told += f" [{entry.detail}]"
    return f"{told}; again at {_until(entry)}" if entry.HasField("due_time") else told


def _until(entry: TimelineEntry) -> str:
    if not entry.HasField("due_time"):
        return "its time"
    moment: datetime = entry.due_time.ToDatetime(UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def reason(word: str) -> str:
    """A stable word, and what may follow it, for people."""
    known, _, rest = word.partition(": ")
    told = _REASONS.get(known, known)
    return f"{told} ({_REASONS.get(rest, rest)})" if rest else told


def _why(word: str) -> str:
    return f", since {reason(word)}" if word in _REASONS else f" ({reason(word)})" if word else ""


def _channel(channel: Channel.Type.ValueType) -> str:
    return _word(Channel, channel).replace("_", " ")


def _word(kind: Any, number: int) -> str:
    # A number that a newer suite knows is told as it is.
    names: dict[int, str] = {value: name for name, value in kind.Type.items()}
    return names.get(number, str(number)).lower()
