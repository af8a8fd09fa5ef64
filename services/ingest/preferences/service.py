"""PreferenceService: what a person wants to be told, when, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crown.choices import Choices
from crown.clock import now
from crown.errors import Stale, Violation
from crown.notification.v1 import preference_service_pb2 as pb
from crown.preferences import Kept, Preferences
from crown.store import Database
from services.ingest.preferences import forms

_PATHS_MOST = 50
# A change of some is made to what was read; so often is it read again where somebody else changes it meanwhile.
_TRIES = 5


class PreferenceService:
    """The servicer."""

    def __init__(self, db: Database) -> None:
        self._preferences = Preferences(db)
        self._contacts = db.contacts

    def checks(self) -> Mapping[str, Callable[[Any], Sequence[Violation]]]:
        """What the door checks beside the rules in the protos, by method."""
        return {
            "UpdateNotificationPreferences": lambda request: forms.problems(request.preferences),
            "PatchNotificationPreferences": _patch_problems,
        }

    async def GetNotificationPreferences(
        self, request: pb.GetNotificationPreferencesRequest, _context: Any
    ) -> pb.GetNotificationPreferencesResponse:
        """What holds for this person."""
        kept = await self._preferences.get(request.user_id)
        return pb.GetNotificationPreferencesResponse(**await self._fields(request.user_id, kept))

    async def UpdateNotificationPreferences(
        self, request: pb.UpdateNotificationPreferencesRequest, _context: Any
    ) -> pb.UpdateNotificationPreferencesResponse:
        """Replaces what holds."""
        given = request.preferences
        kept = await self._preferences.replace(request.user_id, forms.choices(given), given.etag)
        return pb.UpdateNotificationPreferencesResponse(**await self._fields(request.user_id, kept))

    async def PatchNotificationPreferences(
        self, request: pb.PatchNotificationPreferencesRequest, _context: Any
    ) -> pb.PatchNotificationPreferencesResponse:
        """Replaces some of what holds."""
        given = forms.choices(request.preferences)
        paths = list(request.update_mask.paths)
        kept = await self._patch(request.user_id, given, paths, request.preferences.etag)
        return pb.PatchNotificationPreferencesResponse(**await self._fields(request.user_id, kept))

    async def _patch(self, user_id: str, given: Choices, paths: list[str], etag: str) -> Kept:
        for tries_left in reversed(range(_TRIES)):
            kept = await self._preferences.get(user_id)
            choices = forms.changed(kept.choices, given, paths)
            try:
                return await self._preferences.replace(user_id, choices, etag or kept.etag)
            except Stale:
                if etag or not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _fields(self, user_id: str, kept: Kept) -> Mapping[str, Any]:
        row = await self._contacts.find_one({"_id": user_id}, {"time_zone": 1}) or {}
        return forms.fields(user_id, kept, row.get("time_zone", ""), now())


def _patch_problems(request: pb.PatchNotificationPreferencesRequest) -> list[Violation]:
    paths = request.update_mask.paths
    found = forms.problems(request.preferences)
    if not paths or len(paths) > _PATHS_MOST or any(map(forms.path_problem, paths)):
        words = (
            f"must be 1 to {_PATHS_MOST} of all_off, caps, categories, digests, locale, quiet_hours, time_zone, or"
            " parts of categories and digests, such as categories.social or digests.social.email"
        )
        found.append(Violation("update_mask", words, "mask"))
    return found
