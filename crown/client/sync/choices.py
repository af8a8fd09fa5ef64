# Made from crown/client/choices.py by tools/sync_client.py: change that one.
"""What a person chose of notifications: channels, quiet hours, digests, caps."""

from __future__ import annotations

from typing import Unpack

import grpc

from crown.client import chosen as forms
from crown.client.chosen import Chosen
from crown.client.sync.calls import Calls
from crown.notification.v1 import preference_service_pb2 as pb
from crown.notification.v1.preference_pb2 import NotificationPreferences
from crown.notification.v1.preference_service_pb2_grpc import PreferenceServiceStub


class Choices:
    """The preferences of a person. What has the etag of what was read is refused with Stale where somebody else
    was faster; then nothing is tried again that may have happened, since its own success would refuse it."""

    def __init__(self, channel: grpc.Channel, calls: Calls) -> None:
        self._stub = PreferenceServiceStub(channel)
        self._calls = calls

    def get(self, user_id: str) -> NotificationPreferences:
        """What holds, every category and channel spelled out, with its etag."""
        request = pb.GetNotificationPreferencesRequest(user_id=user_id)
        answer = self._calls.unary(self._stub.GetNotificationPreferences, request)
        return forms.whole(answer)

    def replace(self, user_id: str, preferences: NotificationPreferences) -> NotificationPreferences:
        """Replaces all of them, and answers what holds. What is left out has its default again."""
        request = pb.UpdateNotificationPreferencesRequest(user_id=user_id, preferences=preferences)
        answer = self._calls.unary(
            self._stub.UpdateNotificationPreferences, request, repeatable=not preferences.etag
        )
        return forms.whole(answer)

    def change(self, user_id: str, *, etag: str = "", **chosen: Unpack[Chosen]) -> NotificationPreferences:
        """Replaces what is named and leaves the rest, and answers what holds."""
        request = forms.change(user_id, etag, **chosen)
        answer = self._calls.unary(self._stub.PatchNotificationPreferences, request, repeatable=not etag)
        return forms.whole(answer)
