"""The people's choices, in the store. Never cached: an opt-out counts at once.

A document: {_id: user id, categories: {<category>: {<channel>: on}}, all_off, quiet_hours: [{weekdays, start, end}],
time_zone, locale, digests: {<category>: {<channel>: {every, at, weekday}}}, caps: [{category, channel, most, per}],
update_time, etag}. Times of day are minutes, weekdays count from 0, Monday. What is missing has its default."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from crown.catalogue import CATEGORIES
from crown.choices import NOTHING, Cap, Choices, Digest, QuietHours
from crown.clock import now
from crown.errors import Stale
from crown.notification.v1.types_pb2 import Category, Channel
from crown.store import Database, Document
from crown.subjects import CHANNELS

# Of who never chose anything.
NO_ETAG = "0"


@dataclass(frozen=True, slots=True)
class Kept:
    """Choices as they are kept. `etag` is another one after every change; `update_time` is None where nothing was
    ever chosen."""

    choices: Choices = NOTHING
    update_time: datetime | None = None
    etag: str = NO_ETAG


class Preferences:
    """The people's choices."""

    def __init__(self, db: Database) -> None:
        self._rows = db.preferences

    async def choices(self, user_ids: Collection[str]) -> dict[str, Choices]:
        """The choices of those who made some."""
        found = self._rows.find({"_id": {"$in": list(user_ids)}})
        return {row["_id"]: _choices(row) async for row in found}

    async def get(self, user_id: str) -> Kept:
        """The choices of one person."""
        row = await self._rows.find_one({"_id": user_id})
        return _kept(row) if row else Kept()

    async def replace(self, user_id: str, choices: Choices, etag: str = "") -> Kept:
        """Makes `choices` all that holds; what is not in it has its default again. Raises Stale where `etag` is given
        and something was changed since."""
        row: Document = {**_document(choices), "update_time": now(), "etag": _fresh_etag()}
        where: Document = {"_id": user_id}
        if etag:
            # What older versions wrote has none.
            where["etag"] = {"$exists": False} if etag == NO_ETAG else etag
        try:
            changed = await self._rows.replace_one(where, row, upsert=etag in ("", NO_ETAG))
        except DuplicateKeyError:
            # It stands there with another etag, which is why it was not found.
            raise _stale() from None
        if etag not in ("", NO_ETAG) and not changed.matched_count:
            raise _stale()
        return _kept(row)

    async def choose(
        self,
        user_id: str,
        category: Category.Type.ValueType,
        channel: Channel.Type.ValueType,
        on: bool,
    ) -> None:
        """Makes one choice; the others stay. Twice is once."""
        place = f"categories.{CATEGORIES[category]}.{CHANNELS[channel]}"
        await self._rows.update_one(
            {"_id": user_id},
            {"$set": {place: on, "update_time": now(), "etag": _fresh_etag()}},
            upsert=True,
        )


def _stale() -> Stale:
    return Stale("somebody else changed the preferences first: read them again")


def _fresh_etag() -> str:
    return os.urandom(8).hex()


def _kept(row: Document) -> Kept:
    return Kept(_choices(row), row["update_time"], row.get("etag", NO_ETAG))


def _choices(row: Document) -> Choices:
    return Choices(
        row.get("categories", {}),
        row.get("all_off", False),
        tuple(
            QuietHours(frozenset(hours["weekdays"]), hours["start"], hours["end"])
            for hours in row.get("quiet_hours", ())
        ),
        row.get("time_zone", ""),
        row.get("locale", ""),
        {
            category: {channel: Digest(**digest) for channel, digest in channels.items()}
            for category, channels in row.get("digests", {}).items()
        },
        tuple(Cap(**cap) for cap in row.get("caps", ())),
    )


def _document(choices: Choices) -> Document:
    """`choices` for the store: what is empty is left out."""
    whole: dict[str, Any] = {
        "all_off": choices.all_off,
        "quiet_hours": [
            {"weekdays": sorted(hours.weekdays), "start": hours.start, "end": hours.end}
            for hours in choices.quiet_hours
        ],
        "time_zone": choices.time_zone,
        "locale": choices.locale,
        "digests": {
            category: {channel: asdict(digest) for channel, digest in channels.items()}
            for category, channels in choices.digests.items()
        },
        "caps": [asdict(cap) for cap in choices.caps],
    }
    categories = {category: dict(channels) for category, channels in choices.categories.items()}
    return {"categories": categories, **{name: value for name, value in whole.items() if value}}
