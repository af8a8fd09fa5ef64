"""Preferences in the store, and what dispatch and channels make of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict

from crown.choices import Cap, Choices, Digest, QuietHours
from crown.errors import Stale
from crown.notification.v1 import preference_service_pb2 as pb
from crown.notification.v1.preference_pb2 import NotificationPreferences
from crown.notification.v1.types_pb2 import Rhythm, Span
from crown.preferences import NO_ETAG, Preferences
from services.ingest.preferences.service import PreferenceService
from tests.integration.local import Local

EVERY_DAY = frozenset(range(7))


@pytest.fixture
async def working(local: Local) -> AsyncIterator[Local]:
    """A dispatcher works all the time."""
    async with local.dispatching():
        yield local


def quiet_now() -> tuple[QuietHours, ...]:
    """Whatever the time is, it is quiet in UTC, and for a while."""
    minute = datetime.now(UTC).hour * 60 + datetime.now(UTC).minute
    return (QuietHours(EVERY_DAY, (minute - 60) % 1_440, (minute + 60) % 1_440),)


async def patch(local: Local, person: str, written: dict[str, Any], *paths: str) -> Any:
    request = pb.PatchNotificationPreferencesRequest(
        user_id=person,
        preferences=ParseDict(written, NotificationPreferences()),
        update_mask=FieldMask(paths=paths),
    )
    return await PreferenceService(local.db).PatchNotificationPreferences(request, None)


async def put(local: Local, person: str, written: dict[str, Any]) -> Any:
    preferences = ParseDict(written, NotificationPreferences())
    request = pb.UpdateNotificationPreferencesRequest(user_id=person, preferences=preferences)
    return await PreferenceService(local.db).UpdateNotificationPreferences(request, None)


async def test_all_of_it_is_kept(local: Local) -> None:
    person = local.somebody()
    choices = Choices(
        {"social": {"email": False}},
        True,
        (QuietHours(frozenset({0, 6}), 1_320, 420),),
        "Europe/Berlin",
        "de",
        {"social": {"push": Digest(Rhythm.WEEKLY, 1_080, 4)}},
        (Cap("", "push", 3, Span.DAY),),
    )
    kept = await Preferences(local.db).replace(person, choices)
    assert (await Preferences(local.db).get(person)) == kept
    assert (await Preferences(local.db).choices([person])) == {person: choices}


async def test_a_stale_etag_changes_nothing(local: Local) -> None:
    person = local.somebody()
    first = await put(local, person, {"all_off": True, "etag": NO_ETAG})
    for etag in (NO_ETAG, "feed"):
        with pytest.raises(Stale):
            await put(local, person, {"etag": etag})
        with pytest.raises(Stale):
            await patch(local, person, {"etag": etag}, "all_off")
    second = await put(local, person, {"all_off": True, "locale": "de", "etag": first.etag})
    assert second.etag not in (first.etag, NO_ETAG)
    with pytest.raises(Stale):
        await put(local, person, {"etag": first.etag})
    assert (await put(local, person, {})).all_off is False


async def test_what_older_versions_wrote_has_an_etag_too(local: Local) -> None:
    person = local.somebody()
    row = {"_id": person, "categories": {"social": {"push": False}}, "update_time": datetime.now(UTC)}
    await local.db.preferences.insert_one(row)
    changed = await patch(local, person, {"etag": NO_ETAG, "locale": "de"}, "locale")
    assert changed.categories["social"].push is False
    with pytest.raises(Stale):
        await patch(local, person, {"etag": NO_ETAG}, "locale")


async def test_patches_at_once_do_not_undo_one_another(local: Local) -> None:
    person = local.somebody()
    await asyncio.gather(
        *(
            patch(local, person, {"categories": {name: {"push": False}}}, f"categories.{name}")
            for name in ("activity", "social", "system")
        )
    )
    kept = (await Preferences(local.db).get(person)).choices
    assert kept.categories == {name: {"push": False} for name in ("activity", "social", "system")}


async def delivery(local: Local, notification_id: str, channel: str) -> dict[str, Any]:
    for _ in range(200):
        row = await local.db.ledger.find_one({"notification_id": notification_id})
        if row is not None:
            return {**row["deliveries"][channel], "row": row}
        await asyncio.sleep(0.02)
    raise AssertionError("dispatch wrote no row")


async def test_quiet_hours_are_kept_by_the_next_dispatch(working: Local) -> None:
    person = working.somebody()
    await Preferences(working.db).replace(person, Choices(quiet_hours=quiet_now()))
    sent = await working.send(user_id=person, channels=["IN_APP", "PUSH"], category="SOCIAL")
    push = await delivery(working, sent, "push")
    assert (push["state"], push["decided_reason"]) == (12, "QUIET_HOURS")
    assert push["row"]["wake_time"] == push["due_time"] > datetime.now(UTC)
    assert push["row"]["open"] == []
    assert push["row"]["deliveries"]["in_app"]["state"] == 4
    urgent = await working.send(user_id=person, channels=["PUSH"], category="SECURITY")
    assert (await delivery(working, urgent, "push"))["state"] == 1


async def test_the_clock_of_the_contact_counts_where_none_was_chosen(working: Local) -> None:
    person = working.somebody()
    await working.db.contacts.insert_one({"_id": person, "time_zone": "Asia/Kathmandu", "locale": ""})
    # Quiet in Kathmandu, 5 h 45 min ahead of UTC.
    now = datetime.now(UTC) + timedelta(hours=5, minutes=45)
    minute = now.hour * 60 + now.minute
    hours = QuietHours(EVERY_DAY, (minute - 60) % 1_440, (minute + 60) % 1_440)
    await Preferences(working.db).replace(person, Choices(quiet_hours=(hours,)))
    sent = await working.send(user_id=person, channels=["PUSH"], category="SOCIAL")
    assert (await delivery(working, sent, "push"))["reason"] == "QUIET_HOURS"


async def test_a_digest_gathers_what_falls_into_its_window(working: Local) -> None:
    person = working.somebody()
    digests = {"social": {"email": Digest(Rhythm.DAILY, (datetime.now(UTC).hour + 12) % 24 * 60)}}
    await Preferences(working.db).replace(person, Choices(digests=digests))
    sent = [await working.send(user_id=person, channels=["EMAIL"], category="SOCIAL") for _ in range(2)]
    first, second = [await delivery(working, one, "email") for one in sent]
    assert first["reason"] == second["reason"] == "DIGEST"
    assert first["digest"] == second["digest"]
    assert first["digest"].startswith(f"{person}|email|social|")


async def test_a_cap_counts_what_went_out(working: Local) -> None:
    person = working.somebody()
    await Preferences(working.db).replace(person, Choices(caps=(Cap("social", "push", 2, Span.DAY),)))
    for category, capped in (("SOCIAL", 2), ("ACTIVITY", 0)):
        reasons = []
        for _ in range(4):
            sent = await working.send(user_id=person, channels=["PUSH"], category=category)
            reasons.append((await delivery(working, sent, "push"))["reason"])
        assert reasons == [""] * (4 - capped) + ["FREQUENCY_CAP"] * capped


async def test_what_waits_for_local_time_is_not_shown_yet(working: Local) -> None:
    later = datetime.now(UTC) + timedelta(hours=3)
    sent = await working.send(channels=["IN_APP"], local_time=f"{later:%H:%M}")
    shown = await delivery(working, sent, "in_app")
    assert (shown["state"], shown["reason"]) == (12, "LOCAL_TIME")
    assert shown["row"]["hidden"] is True
    assert "unread" not in shown["row"]
