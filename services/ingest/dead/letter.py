"""One dead letter in the store: how a filter of the contract finds it, and how it is told. Its fields stand in
crown/dead_letters.py. Nothing here reads or writes."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta

from crown.clock import moment, timestamp
from crown.errors import InvalidRequest, Violation
from crown.notification.v1.dead_letter_service_pb2 import DeadLetterEntry, DeadLetterFilter
from crown.notification.v1.types_pb2 import DeadLetterState
from crown.store import Document

NEWEST_FIRST = [("create_time", -1), ("_id", -1)]
OLDEST_FIRST = [("create_time", 1), ("_id", 1)]
# Fields of a letter that a list needs none of; a body may have half a megabyte.
WITHOUT_BODY = {"body": 0}
_EQUAL = ("channel", "reason", "provider", "kind", "category", "user_id", "notification_id", "sender")
_MARK = "letter"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def matching(given: DeadLetterFilter) -> Document:
    """The letters that `given` means, as the store is asked. Raises InvalidRequest where a time is none."""
    where: Document = {"state": given.state or DeadLetterState.OPEN}
    where.update({name: getattr(given, name) for name in _EQUAL if getattr(given, name)})
    span = {}
    if given.HasField("since"):
        span["$gte"] = _time(given, "since")
    if given.HasField("until"):
        span["$lt"] = _time(given, "until")
    if span:
        where["create_time"] = span
    return where


def _time(given: DeadLetterFilter, name: str) -> datetime:
    try:
        return moment(getattr(given, name))
    except (ValueError, OverflowError):
        violation = Violation(f"filter.{name}", "must be a time between the years 1 and 9999", "time")
        raise InvalidRequest.of([violation]) from None


def entry(row: Document) -> DeadLetterEntry:
    """A letter as operators see it, without what it says."""
    return DeadLetterEntry(
        dead_letter_id=row["_id"],
        state=row["state"],
        reason=row["reason"],
        error=row["error"],
        channel=row["channel"],
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        delivery_id=row["delivery_id"],
        kind=row["kind"],
        category=row["category"],
        sender=row["sender"],
        provider=row["provider"],
        attempts=row["attempts"],
        create_time=timestamp(row["create_time"]),
        update_time=timestamp(row.get("update_time")),
        update_by=row.get("update_by", ""),
    )


def cursor(row: Document) -> str:
    """The place after `row`, opaque to callers."""
    millis = (row["create_time"] - _EPOCH) // _MILLISECOND
    return base64.urlsafe_b64encode(f"{_MARK} {millis} {row['_id']}".encode()).decode()


def older(cursor: str) -> Document:
    """The letters behind the place that `cursor` names, from the newest to the oldest. Raises InvalidRequest."""
    try:
        mark, millis, letter_id = base64.b64decode(cursor.encode(), b"-_", validate=True).decode().split(" ")
        time = _EPOCH + _MILLISECOND * int(millis)
    except (ValueError, binascii.Error, OverflowError):
        mark = ""
    if mark != _MARK:
        violation = Violation("cursor", "must be a next_cursor of an earlier answer", "page")
        raise InvalidRequest.of([violation])
    return {"$or": [{"create_time": {"$lt": time}}, {"create_time": time, "_id": {"$lt": letter_id}}]}


def newer(time: datetime, letter_id: str) -> Document:
    """The letters behind this one, from the oldest to the newest."""
    return {"$or": [{"create_time": {"$gt": time}}, {"create_time": time, "_id": {"$gt": letter_id}}]}
