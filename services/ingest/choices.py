"""PreferenceService: what a person wants to be told, and where."""

from __future__ import annotations

from typing import Any

from crown.choices import Choices, spelled_out
from crown.clock import timestamp
from crown.notification.v1 import preference_service_pb2 as pb
from crown.notification.v1.preference_pb2 import ChannelPreferences, NotificationPreferences
from crown.preferences import Kept, Preferences
from crown.store import Database


class PreferenceService:
    """The servicer."""

    def __init__(self, db: Database) -> None:
        self._preferences = Preferences(db)

    async def GetNotificationPreferences(
        self, request: pb.GetNotificationPreferencesRequest, _context: Any
    ) -> pb.GetNotificationPreferencesResponse:
        """What holds for this person."""
        kept = await self._preferences.get(request.user_id)
        return pb.GetNotificationPreferencesResponse(user_id=request.user_id, **_fields(kept))

    async def UpdateNotificationPreferences(
        self, request: pb.UpdateNotificationPreferencesRequest, _context: Any
    ) -> pb.UpdateNotificationPreferencesResponse:
        """Replaces what holds."""
        choices = _choices(request.preferences)
        kept = await self._preferences.replace(request.user_id, choices)
        return pb.UpdateNotificationPreferencesResponse(user_id=request.user_id, **_fields(kept))


def _choices(preferences: NotificationPreferences) -> Choices:
    """What was chosen, and only that: a later change of a default reaches who did not choose."""
    return Choices(
        {
            category: {field.name: value for field, value in channels.ListFields()}
            for category, channels in preferences.categories.items()
        }
    )


def _fields(kept: Kept) -> dict[str, Any]:
    spelled = spelled_out(kept.choices).items()
    return {
        "categories": {name: ChannelPreferences(**channels) for name, channels in spelled},
        "update_time": timestamp(kept.update_time),
    }
