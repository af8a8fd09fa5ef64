"""What a person wants: category by channel. The rules are pure; `Preferences` keeps the choices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from crown.clock import now
from crown.notification.v1.types_pb2 import Category, Channel
from crown.store import Database
from crown.subjects import CHANNELS

CATEGORIES: Mapping[Category.Type.ValueType, str] = {
    Category.ACTIVITY: "activity",
    Category.SOCIAL: "social",
    Category.SYSTEM: "system",
    Category.MARKETING: "marketing",
    Category.SECURITY: "security",
}
# The channels that marketing needs consent for; all else is on until turned off.
_CONSENT_NEEDED = {"push", "email", "sms"}

# Of one person: category → channel → on. What is not in it has its default.
Choices = Mapping[str, Mapping[str, bool]]


def default(category: str, channel: str) -> bool:
    """What holds where the person chose nothing."""
    return not (category == "marketing" and channel in _CONSENT_NEEDED)


def allows(choices: Choices, category: Category.Type.ValueType, channel: Channel.Type.ValueType) -> bool:
    """Whether the person wants this category on this channel. Security passes every choice."""
    if category == Category.SECURITY:
        return True
    name, on = CATEGORIES[category], CHANNELS[channel]
    return choices.get(name, {}).get(on, default(name, on))


def spelled_out(choices: Choices) -> dict[str, dict[str, bool]]:
    """Every category and channel, with what holds."""
    return {
        name: {
            on: True if category == Category.SECURITY else choices.get(name, {}).get(on, default(name, on))
            for on in CHANNELS.values()
        }
        for category, name in CATEGORIES.items()
    }


class Preferences:
    """The people's choices, in the store. Never cached: an opt-out counts at once."""

    def __init__(self, db: Database) -> None:
        self._rows = db.preferences

    async def choices(self, user_ids: Collection[str]) -> dict[str, Choices]:
        """The choices of those who made some."""
        found = self._rows.find({"_id": {"$in": list(user_ids)}}, {"categories": 1})
        return {row["_id"]: row["categories"] async for row in found}

    async def get(self, user_id: str) -> tuple[Choices, datetime | None]:
        """The choices of one person, and when they were made."""
        row = await self._rows.find_one({"_id": user_id})
        return (row["categories"], row["update_time"]) if row else ({}, None)

    async def replace(self, user_id: str, choices: Choices) -> datetime:
        """Makes `choices` all that holds; what is not in it has its default again."""
        moment = now()
        await self._rows.replace_one(
            {"_id": user_id}, {"categories": choices, "update_time": moment}, upsert=True
        )
        return moment

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
            {"_id": user_id}, {"$set": {place: on, "update_time": now()}}, upsert=True
        )
