"""What a person can do with an entry: which rows each mark is for, and what it makes of them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crown.notification.v1.types_pb2 import DeliveryState
from crown.store import Document
from crown.unread import unread

_INBOX: Document = {"shelf": None, "hidden": None}
_NEWS = {"unread": "", "unseen": ""}


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing to do. `event` is what sockets hear, with its moment under `stamp` where that stands in entries."""

    event: str
    stamp: str
    # Which rows are not yet so, whichever way they are named.
    wanting: Document
    # What a row becomes at a moment: an update, or a pipeline of updates.
    change: Callable[[datetime], Document | list[Document]]
    # Which rows of a person are meant by all.
    all: Callable[[str], Document]
    # What those become at that moment that are folded into the entry; None: they stay as they are, and the thread
    # stays open.
    folded: Callable[[datetime], Document] | None = None


def _read(moment: datetime) -> Document:
    # What was seen before keeps its time.
    return {"$set": {"read_time": moment}, "$min": {"seen_time": moment}, "$unset": _NEWS}


def _read_too(moment: datetime) -> Document:
    return {"$min": {"read_time": moment, "seen_time": moment}}


def _unread(_moment: datetime) -> list[Document]:
    is_shown = {
        "$or": [
            {"$eq": [f"$deliveries.{channel}.state", DeliveryState.DELIVERED]}
            for channel in ("in_app", "real_time")
        ]
    }
    return [
        {"$set": {"unread": {"$cond": [is_shown, True, "$$REMOVE"]}}},
        {"$unset": "read_time"},
    ]


def _seen(moment: datetime) -> Document:
    return {"$set": {"seen_time": moment}, "$unset": {"unseen": ""}}


def _archived(moment: datetime) -> Document:
    return _put_away(moment, {"shelf": "archived", "archive_time": moment})


def _unarchived(_moment: datetime) -> Document:
    return {"$unset": {"shelf": "", "archive_time": ""}}


def _deleted(moment: datetime) -> Document:
    return _put_away(moment, {"shelf": "deleted", "delete_time": moment})


def _put_away(moment: datetime, fields: Document) -> Document:
    return {"$set": fields, "$min": {"read_time": moment, "seen_time": moment}, "$unset": _NEWS}


def _inbox(user_id: str) -> Document:
    return {"user_id": user_id, **_INBOX}


READ = Mark(
    event="read",
    stamp="read_time",
    wanting={"read_time": None},
    change=_read,
    all=unread,
    folded=_read_too,
)
UNREAD = Mark(
    event="unread",
    stamp="",
    wanting={"read_time": {"$ne": None}, "shelf": None},
    change=_unread,
    all=lambda user_id: {**_inbox(user_id), "read_time": {"$ne": None}},
)
SEEN = Mark(
    event="seen",
    stamp="seen_time",
    wanting={"seen_time": None},
    change=_seen,
    all=lambda user_id: {**unread(user_id), "unseen": True},
)
ARCHIVED = Mark(
    event="archived",
    stamp="archive_time",
    wanting={"shelf": None},
    change=_archived,
    all=_inbox,
    folded=_read_too,
)
UNARCHIVED = Mark(
    event="unarchived",
    stamp="",
    wanting={"shelf": "archived"},
    change=_unarchived,
    all=lambda user_id: {"user_id": user_id, "shelf": "archived", "hidden": None},
)
DELETED = Mark(
    event="deleted",
    stamp="delete_time",
    wanting={"delete_time": None},
    change=_deleted,
    all=_inbox,
    folded=_deleted,
)


def said(mark: Mark, moment: str, what: dict[str, Any]) -> dict[str, Any]:
    """What sockets are told of a mark."""
    return {**what, mark.stamp: moment} if mark.stamp else what
