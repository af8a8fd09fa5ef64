"""What becomes of a row whose time has come: which of its deliveries are due, the update that releases them, and
what is told of it. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pymongo import UpdateMany

from crown.notification.v1.types_pb2 import DeliveryState, TimelineEvent
from crown.store import Document
from crown.subjects import CHANNELS
from services.ingest.decide import Decision, Digest

# What the app itself shows.
_SHOWN = ("in_app", "real_time")
_CHANNEL_OF = {name: value for value, name in CHANNELS.items()}


@dataclass(frozen=True, slots=True)
class Release:
    """A row as it was found, and what was decided for each of its deliveries that is due, by channel."""

    row: Document
    decisions: Mapping[str, Decision]
    moment: datetime
    # Whether the app shows the row from now on.
    shows: bool = field(init=False)

    def __post_init__(self) -> None:
        shown = (self.decisions[name] for name in _SHOWN if name in self.decisions)
        shows = any(decision.state == DeliveryState.DELIVERED for decision in shown)
        object.__setattr__(self, "shows", shows)


def due(row: Document, moment: datetime) -> list[str]:
    """The channels on which something is due. Items of a digest are not among them: who builds the digest
    releases them together."""
    return [
        channel
        for channel, delivery in row["deliveries"].items()
        if _is_deferred(delivery) and delivery["due_time"] <= moment and not delivery.get("digest")
    ]


def digests(rows: Iterable[Document], moment: datetime) -> set[Digest]:
    """The digests that these rows hold due items of."""
    return {
        Digest.of(delivery["digest"])
        for row in rows
        for delivery in row["deliveries"].values()
        if _is_deferred(delivery) and delivery["due_time"] <= moment and delivery.get("digest")
    }


def wake_time(deliveries: Mapping[str, Document]) -> datetime | None:
    """When the next of these deliveries is due; None where none is deferred."""
    times = [delivery["due_time"] for delivery in deliveries.values() if _is_deferred(delivery)]
    return min(times, default=None)


def _is_deferred(delivery: Document) -> bool:
    return bool(delivery["state"] == DeliveryState.DEFERRED)


def deliveries(release: Release) -> dict[str, Document]:
    """The deliveries of the row as they are afterwards."""
    found: dict[str, Document] = dict(release.row["deliveries"])
    for channel, decision in release.decisions.items():
        found[channel] = {**found[channel], **_fields(decision, release.moment)}
    return found


def _fields(decision: Decision, moment: datetime) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "state": decision.state,
        "reason": decision.reason,
        "due_time": decision.due_time,
        "update_time": moment,
    }
    if decision.digest:
        fields["digest"] = decision.digest
    # What waited is as young as if it had just been sent.
    return {**fields, "reopen_time": moment} if decision.open else fields


def updates(made: Iterable[Release], mark: str) -> list[UpdateMany]:
    """Brings the rows there, of which each is here once, where they are still as they were found: of several who
    release a row, one does. `mark` stands in it afterwards. Rows with the same change are one update: many are due
    at once since they are parts of the same."""
    alike: dict[_Change, list[Release]] = {}
    for release in made:
        alike.setdefault(_change(release), []).append(release)
    return [_update(change, found, mark) for change, found in alike.items()]


@dataclass(frozen=True, slots=True)
class _Change:
    """What tells the changes of two rows apart."""

    wake_time: datetime
    read_time: datetime | None
    decisions: tuple[tuple[str, Decision], ...]
    moment: datetime
    next_time: datetime | None
    thread: str | None


def _change(release: Release) -> _Change:
    row = release.row
    return _Change(
        row["wake_time"],
        row.get("read_time"),
        tuple(release.decisions.items()),
        release.moment,
        _next_time(release),
        row.get("thread"),
    )


def _next_time(release: Release) -> datetime | None:
    """The row's `wake_time` afterwards."""
    others = {
        channel: delivery
        for channel, delivery in release.row["deliveries"].items()
        if channel not in release.decisions
    }
    times = [decision.due_time for decision in release.decisions.values() if decision.due_time is not None]
    return min(filter(None, [wake_time(others), *times]), default=None)


def _update(change: _Change, made: list[Release], mark: str) -> UpdateMany:
    where: Document = {
        "_id": {"$in": [release.row["_id"] for release in made]},
        "wake_time": change.wake_time,
        # An escalation that is read at this moment does not go out.
        "read_time": change.read_time,
    }
    fields: Document = {"released": mark}
    gone: Document = {}
    opened = []
    for channel, decision in change.decisions:
        where[f"deliveries.{channel}.state"] = DeliveryState.DEFERRED
        for name, value in _fields(decision, change.moment).items():
            fields[f"deliveries.{channel}.{name}"] = value
        if decision.open:
            opened.append(channel)
    if made[0].shows:
        if change.read_time is None:
            fields["unread"] = fields["unseen"] = True
        fields["create_time"] = change.moment
        gone["hidden"] = ""
        if change.thread is not None:
            fields["thread"] = change.thread
    if change.next_time is None:
        gone["wake_time"] = ""
    else:
        fields["wake_time"] = change.next_time
    # Mongo takes no empty operators.
    operators = {"$set": fields, "$unset": gone, "$addToSet": {"open": {"$each": opened}} if opened else {}}
    return UpdateMany(where, {name: operand for name, operand in operators.items() if operand})


def entries(release: Release) -> list[Document]:
    """What the timeline tells. The same release is the same entry, whoever makes it."""
    row, found = release.row, []
    for channel, decision in release.decisions.items():
        delivery = row["deliveries"][channel]
        entry = {
            "_id": f"{delivery['id']}:released:{int(delivery['due_time'].timestamp() * 1000)}",
            "event": TimelineEvent.RELEASED,
            "notification_id": row["notification_id"],
            "delivery_id": delivery["id"],
            "user_id": row["user_id"],
            "channel": _CHANNEL_OF[channel],
            "state": decision.state,
            "reason": decision.reason,
            "time": release.moment,
        }
        if decision.due_time is not None:
            entry["due_time"] = decision.due_time
        found.append(entry)
    return found


def announced(release: Release) -> Document:
    """The row as far as there is news of it: what was told of its other deliveries is not told again."""
    after = deliveries(release)
    created = {"create_time": release.moment} if release.shows else {}
    return {
        **release.row,
        **created,
        "decide_time": release.moment,
        "deliveries": {
            channel: {**after[channel], "decided": decision.state}
            for channel, decision in release.decisions.items()
            if decision.state != DeliveryState.DEFERRED
        },
    }
