"""Places in a list: opaque to callers, and filters of the store for what comes after them. Pure."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta

from crown.errors import InvalidRequest, Violation
from crown.store import Document

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def cursor(row: Document) -> str:
    """The place after `row`."""
    millis = (row["create_time"] - _EPOCH) // _MILLISECOND
    return base64.urlsafe_b64encode(f"{millis}:{row['notification_id']}".encode()).decode()


def place(cursor: str) -> tuple[datetime, str]:
    """The place that `cursor` names. Raises InvalidRequest."""
    try:
        millis, notification_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(":")
        moment = _EPOCH + _MILLISECOND * int(millis)
    except (ValueError, binascii.Error, OverflowError):
        notification_id = ""
    if not notification_id:
        raise bad("cursor", "must be a next_cursor of an earlier answer") from None
    return moment, notification_id


def after(cursor: str) -> Document:
    """A filter for what comes after that place. Raises InvalidRequest."""
    moment, notification_id = place(cursor)
    # The id of a row is the notification's and then the user's, and the user is the same throughout. Said so that
    # there is one way alone to look for it: from there on in the index, where nothing is sorted.
    before = {"create_time": moment, "notification_id": {"$gte": notification_id}}
    return {"create_time": {"$lte": moment}, "$nor": [before]}


def bad(field: str, what: str) -> InvalidRequest:
    """What is wrong with a place."""
    return InvalidRequest.of([Violation(field, what, "page")])
