"""The story of a notification, page by page. It is told by three sources: the notification itself; the rows of
the ledger (what was decided, who has read it), of which the store looks through all, at most 10,000, for each
page; and the timeline (attempts, callbacks, what operators did), read no further than the page goes."""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from crown.clock import timestamp
from crown.errors import InvalidRequest, Violation
from crown.ledger import row_id, rows_of
from crown.notification.v1 import timeline_pb2 as pb
from crown.notification.v1.types_pb2 import Channel, DeliveryState, Priority, TimelineEvent
from crown.store import Database, Document
from crown.subjects import CHANNELS, LANES

LIMIT = 200
_MARK = "story"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# What happens in the same millisecond is told in this order.
_ACCEPTED, _DECIDED, _TOLD, _READ = range(4)
_CHANNEL_OF = {name: value for value, name in CHANNELS.items()}


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """Where an entry stands in the story: its time, its source, the document it comes from, and which of the
    entries of that document it is."""

    time: datetime
    source: int = 0
    id: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    place: Place
    entry: pb.TimelineEntry


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, the oldest first; `cursor` leads on, and is empty at the end."""

    entries: list[pb.TimelineEntry]
    cursor: str


class Timeline:
    """Reads stories."""

    def __init__(self, db: Database) -> None:
        self._ledger = db.ledger
        self._timeline = db.timeline

    async def page(self, notification: Document, user_id: str, limit: int, cursor: str) -> Page:
        """Up to `limit` entries of `notification` behind `cursor`; only those that concern `user_id` where it
        is not empty. Raises InvalidRequest where the cursor is none of ours."""
        after = _place(cursor) if cursor else Place(_EPOCH)
        most = limit + 1
        lines = heapq.merge(
            _accepted(notification),
            _broadcast(notification),
            _cancelled(notification),
            await self._decided(notification["_id"], user_id, after, most),
            await self._told(notification["_id"], user_id, after, most),
            await self._read(notification["_id"], user_id, after, most),
            key=attrgetter("place"),
        )
        found = [line for line in lines if line.place > after or not cursor][:most]
        return Page(
            [line.entry for line in found[:limit]],
            _cursor(found[limit - 1].place) if len(found) > limit else "",
        )

    async def _decided(self, notification_id: str, user_id: str, after: Place, most: int) -> list[_Line]:
        where = {**_rows(notification_id, user_id), **_behind(after, _DECIDED, "decide_time")}
        fields = {"deliveries": 1, "user_id": 1, "decide_time": 1}
        found = self._ledger.find(where, fields).sort([("decide_time", 1), ("_id", 1)])
        return [line async for row in found.limit(most).hint("_id_") for line in _decisions(row)]

    async def _read(self, notification_id: str, user_id: str, after: Place, most: int) -> list[_Line]:
        where = {**_rows(notification_id, user_id), **_behind(after, _READ, "read_time")}
        found = self._ledger.find(where, {"user_id": 1, "read_time": 1}).sort([("read_time", 1), ("_id", 1)])
        return [_reading(row) async for row in found.limit(most).hint("_id_")]

    async def _told(self, notification_id: str, user_id: str, after: Place, most: int) -> list[_Line]:
        where: Document = {"notification_id": notification_id, **_behind(after, _TOLD, "time")}
        if user_id:
            where["user_id"] = {"$in": [user_id, ""]}
        found = self._timeline.find(where).sort([("time", 1), ("_id", 1)])
        return [_line(row) async for row in found.limit(most)]


def _rows(notification_id: str, user_id: str) -> Document:
    return {"_id": row_id(notification_id, user_id)} if user_id else rows_of(notification_id)


def _behind(after: Place, source: int, field: str) -> Document:
    """A filter for the documents of `source` with entries behind a place; the document of the place itself is
    among them, since it may have more."""
    if source < after.source:
        return {field: {"$gt": after.time}}
    if source > after.source:
        return {field: {"$gte": after.time}}
    same = {field: after.time, "_id": {"$gte": after.id}}
    # The first condition says nothing new, and tells the store where to begin.
    return {field: {"$gte": after.time}, "$or": [{field: {"$gt": after.time}}, same]}


# -- entries


def _accepted(notification: Document) -> Iterator[_Line]:
    time = notification["create_time"]
    lane = LANES.get(notification.get("demoted_from", Priority.PRIORITY_UNSPECIFIED))
    # Its sender had had its share of that lane.
    reason = f"DEMOTED: {lane.upper()}" if lane else ""
    entry = pb.TimelineEntry(time=timestamp(time), event=TimelineEvent.ACCEPTED, reason=reason)
    yield _Line(Place(time, _ACCEPTED), entry)
    send_time = notification.get("send_time")
    if send_time is not None and send_time > time:
        entry = pb.TimelineEntry(
            time=timestamp(time), event=TimelineEvent.SCHEDULED, due_time=timestamp(send_time)
        )
        yield _Line(Place(time, _ACCEPTED, number=1), entry)


def _cancelled(notification: Document) -> Iterator[_Line]:
    time = notification.get("cancel_time")
    if time is not None:
        yield _Line(Place(time, _TOLD), pb.TimelineEntry(time=timestamp(time), event=TimelineEvent.CANCELLED))


def _broadcast(notification: Document) -> Iterator[_Line]:
    """What was decided for everybody at once; of what has rows, they tell it."""
    if not notification.get("everyone") or notification.get("decide_time") is None:
        return
    for channel in sorted(notification["channels"]):
        state = notification["decided"]
        entry = pb.TimelineEntry(
            time=timestamp(notification["decide_time"]),
            event=TimelineEvent.DECIDED,
            channel=channel,
            state=state,
            reason="EXPIRED" if state == DeliveryState.EXPIRED else "",
        )
        yield _Line(Place(notification["decide_time"], _DECIDED, notification["_id"], channel), entry)


def _decisions(row: Document) -> Iterable[_Line]:
    time = row["decide_time"]
    # A channel of newer code is told by that.
    by_channel = sorted(
        (_CHANNEL_OF[name], found) for name, found in row["deliveries"].items() if name in _CHANNEL_OF
    )
    for channel, delivery in by_channel:
        state = delivery.get("decided", DeliveryState.STATE_UNSPECIFIED)
        entry = pb.TimelineEntry(
            time=timestamp(time),
            event=TimelineEvent.DECIDED,
            user_id=row["user_id"],
            channel=channel,
            delivery_id=delivery["id"],
            state=state,
            reason=_decided_reason(state, delivery),
            due_time=timestamp(delivery.get("decided_due_time")),
        )
        yield _Line(Place(time, _DECIDED, row["_id"], channel), entry)


def _decided_reason(state: DeliveryState.Type.ValueType, delivery: Document) -> str:
    match state:
        case DeliveryState.PENDING:
            return ""
        case DeliveryState.DEFERRED:
            return str(delivery["decided_reason"])
        case _:
            # What was decided to end at once stays as it is, and so does its reason.
            return str(delivery.get("reason", ""))


def _reading(row: Document) -> _Line:
    time = row["read_time"]
    entry = pb.TimelineEntry(time=timestamp(time), event=TimelineEvent.READ, user_id=row["user_id"])
    return _Line(Place(time, _READ, row["_id"]), entry)


def _line(row: Document) -> _Line:
    return _Line(Place(row["time"], _TOLD, row["_id"]), told(row))


def told(row: Document) -> pb.TimelineEntry:
    """What a document of the timeline tells."""
    return pb.TimelineEntry(
        time=timestamp(row["time"]),
        event=_event(row.get("event")),
        user_id=row.get("user_id", ""),
        channel=row.get("channel", Channel.CHANNEL_UNSPECIFIED),
        delivery_id=row.get("delivery_id", ""),
        state=row.get("state", DeliveryState.STATE_UNSPECIFIED),
        reason=row.get("reason", ""),
        attempt=row.get("attempt", 0),
        provider=row.get("provider", ""),
        provider_message_id=row.get("provider_message_id", ""),
        detail=row.get("detail", ""),
        callback=row.get("callback", 0),
        due_time=timestamp(row.get("due_time")),
    )


def _event(kept: int | str | None) -> TimelineEvent.Type.ValueType:
    """What older versions kept is a name, or nothing where it was an attempt."""
    if kept is None:
        return TimelineEvent.ATTEMPTED
    return TimelineEvent.Type.Value(kept) if isinstance(kept, str) else TimelineEvent.Type.ValueType(kept)


# -- cursors


def _cursor(place: Place) -> str:
    """The place, opaque to callers."""
    millis = (place.time - _EPOCH) // _MILLISECOND
    text = f"{_MARK} {millis} {place.source} {place.number} {place.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _place(cursor: str) -> Place:
    try:
        text = base64.b64decode(cursor.encode(), b"-_", validate=True).decode()
        mark, millis, source, number, key = text.split(" ", 4)
        place = Place(_EPOCH + _MILLISECOND * int(millis), int(source), key, int(number))
    except (ValueError, binascii.Error, OverflowError):
        mark = ""
    if mark != _MARK:
        violation = Violation("cursor", "must be a next_cursor of an earlier answer", "page")
        raise InvalidRequest.of([violation]) from None
    return place
