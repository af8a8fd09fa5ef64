"""PreferenceService: what a person wants to be told, and where."""

from __future__ import annotations

from typing import Any

from crown.clock import timestamp
from crown.notification.v1 import preference_service_pb2 as pb
from crown.notification.v1.preference_pb2 import ChannelPreferences, NotificationPreferences
from crown.preferences import Choices, Preferences, spelled_out
from crown.store import Database


class PreferenceService:
    """The servicer."""

    def __init__(self, db: Database) -> None:
        self._preferences = Preferences(db)

    async def GetNotificationPreferences(
        self, request: pb.GetNotificationPreferencesRequest, _context: Any
    ) -> pb.GetNotificationPreferencesResponse:
        """What holds for this person."""
        choices, update_time = await self._preferences.get(request.user_id)
        return pb.GetNotificationPreferencesResponse(
            user_id=request.user_id, categories=_categories(choices), update_time=timestamp(update_time)
        )

    async def UpdateNotificationPreferences(
        self, request: pb.UpdateNotificationPreferencesRequest, _context: Any
    ) -> pb.UpdateNotificationPreferencesResponse:
        """Replaces what holds."""
        choices = _choices(request.preferences)
        update_time = await self._preferences.replace(request.user_id, choices)
        return pb.UpdateNotificationPreferencesResponse(
            user_id=request.user_id, categories=_categories(choices), update_time=timestamp(update_time)
        )


def _choices(preferences: NotificationPreferences) -> Choices:
    """What was chosen, and only that: a later change of a default reaches who did not choose."""
    return {
        category: {field.name: value for field, value in channels.ListFields()}
        for category, channels in preferences.categories.items()
    }


def _categories(choices: Choices) -> dict[str, ChannelPreferences]:
    return {name: ChannelPreferences(**channels) for name, channels in spelled_out(choices).items()}
