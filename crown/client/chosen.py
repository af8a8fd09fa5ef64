"""What a person chose, in the forms that callers have it in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict, Unpack

from crown.notification.v1 import preference_service_pb2 as pb
from crown.notification.v1.preference_pb2 import (
    ChannelDigests,
    ChannelPreferences,
    FrequencyCap,
    NotificationPreferences,
    QuietHours,
)

# By category and channel, such as {"marketing": {"email": True}}.
Preferences = dict[str, dict[str, bool]]

Answer = (
    pb.GetNotificationPreferencesResponse
    | pb.UpdateNotificationPreferencesResponse
    | pb.PatchNotificationPreferencesResponse
)


class Chosen(TypedDict, total=False):
    """What a person may choose; each as in NotificationPreferences."""

    categories: Mapping[str, ChannelPreferences]
    all_off: bool
    quiet_hours: Iterable[QuietHours]
    time_zone: str
    locale: str
    digests: Mapping[str, ChannelDigests]
    caps: Iterable[FrequencyCap]


def change(user_id: str, etag: str, **chosen: Unpack[Chosen]) -> pb.PatchNotificationPreferencesRequest:
    """The change of what is named in `chosen`, and of nothing else."""
    request = pb.PatchNotificationPreferencesRequest(
        user_id=user_id, preferences=NotificationPreferences(etag=etag, **chosen)
    )
    request.update_mask.paths.extend(chosen)
    return request


def whole(answer: Answer) -> NotificationPreferences:
    """What an answer says holds, in the form that an update takes: the answers have its fields, by its numbers."""
    return NotificationPreferences.FromString(answer.SerializeToString())


def by_category(categories: Mapping[str, ChannelPreferences]) -> Preferences:
    """Whether a category comes on a channel."""
    return {
        name: {field.name: value for field, value in channels.ListFields()}
        for name, channels in categories.items()
    }


def from_category(preferences: Mapping[str, Mapping[str, bool]]) -> dict[str, ChannelPreferences]:
    """The same as messages."""
    return {name: ChannelPreferences(**channels) for name, channels in preferences.items()}
