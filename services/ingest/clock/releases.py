"""What becomes of a row whose time has come: which of its deliveries are due, the update that releases them, and
what is told of it. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import UpdateOne

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

    @property
    def shows(self) -> bool:
        """Whether the app shows the row from now on."""
        return any(
            name in _SHOWN and decision.state == DeliveryState.DELIVERED
            for name, decision in self.decisions.items()
        )


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


def update(release: Release, mark: str) -> UpdateOne:
    """Brings the row there, where it is still as it was found: of several who release it, one does. `mark` stands
    in it afterwards."""
    row = release.row
    where: Document = {
        "_id": row["_id"],
        "wake_time": row["wake_time"],
        # An escalation that is read at this moment does not go out.
        "read_time": row.get("read_time"),
    }
    fields: Document = {"released": mark}
    for channel, decision in release.decisions.items():
        where[f"deliveries.{channel}.state"] = DeliveryState.DEFERRED
        for name, value in _fields(decision, release.moment).items():
            fields[f"deliveries.{channel}.{name}"] = value
    if release.shows:
        if row.get("read_time") is None:
            fields["unread"] = fields["unseen"] = True
        fields["create_time"] = release.moment
        if "thread" in row:
            fields["thread"] = row["thread"]
    gone = {"hidden": ""} if release.shows else {}
    next_time = wake_time(deliveries(release))
    if next_time is None:
        gone["wake_time"] = ""
    else:
        fields["wake_time"] = next_time
    change: Document = {"$set": fields}
    if gone:
        change["$unset"] = gone
    opened = [channel for channel, decision in release.decisions.items() if decision.open]
    if opened:
        change["$addToSet"] = {"open": {"$each": opened}}
    return UpdateOne(where, change)


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
