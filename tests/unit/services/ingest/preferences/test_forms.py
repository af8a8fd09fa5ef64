"""Preferences as the contract writes them: both ways, what is refused, and parts of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from crown import validation
from crown.choices import Cap, Choices, Digest, QuietHours
from crown.notification.v1.preference_pb2 import NotificationPreferences
from crown.notification.v1.preference_service_pb2 import PatchNotificationPreferencesRequest
from crown.notification.v1.types_pb2 import Rhythm, Span
from crown.preferences import Kept
from services.ingest.preferences import forms

NIGHT = datetime(2026, 11, 25, 23, tzinfo=UTC)
WRITTEN = {
    "categories": {"social": {"email": False}},
    "quiet_hours": [
        {"weekdays": ["MONDAY", "SUNDAY"], "start": "22:00", "end": "07:00"},
        {"start": "13:00", "end": "14:30"},
    ],
    "time_zone": "Europe/Berlin",
    "locale": "de",
    "digests": {"social": {"push": {"every": "WEEKLY", "at": "18:00", "weekday": "FRIDAY"}}},
    "caps": [{"channel": "PUSH", "most": 3, "per": "DAY"}],
}
MEANT = Choices(
    {"social": {"email": False}},
    False,
    (QuietHours(frozenset({0, 6}), 1_320, 420), QuietHours(frozenset(range(7)), 780, 870)),
    "Europe/Berlin",
    "de",
    {"social": {"push": Digest(Rhythm.WEEKLY, 1_080, 4)}},
    (Cap("", "push", 3, Span.DAY),),
)


def form(written: dict[str, Any]) -> NotificationPreferences:
    return ParseDict(written, NotificationPreferences())


def refused(written: dict[str, Any]) -> set[str]:
    """The fields that are refused, by the door's rules or by ours."""
    preferences = form(written)
    found = {f"preferences.{one.field}" for one in validation.violations(preferences)}
    return found | {one.field for one in forms.problems(preferences)}


def test_what_is_written_is_meant() -> None:
    assert refused(WRITTEN) == set()
    assert forms.choices(form(WRITTEN)) == MEANT


def test_enums_are_told_by_their_names_also_in_maps_and_lists() -> None:
    written = {
        "digests": {"social": {"push": {}}},
        "caps": [{"channel": "IN_APP", "most": 1, "per": "DAY"}],
    }
    told = {one.field: one.description for one in validation.violations(form(written))}
    assert told == {
        "digests['social'].push.every": "must be one of INSTANT, HOURLY, DAILY, WEEKLY",
        "caps[0].channel": "must be one of PUSH, EMAIL, SMS",
    }


def test_an_answer_can_be_put_back_and_means_the_same() -> None:
    fields = forms.fields("u1", Kept(MEANT, None, "7f"), "", NIGHT)
    answer = NotificationPreferences(**fields)
    assert answer.etag == "7f"
    again = forms.choices(answer)
    assert again.categories["social"]["email"] is False
    assert forms.fields("u1", Kept(again, None, "7f"), "", NIGHT)["quiet_hours"] == fields["quiet_hours"]
    assert (again.digests, again.caps, again.quiet_hours) == (MEANT.digests, MEANT.caps, MEANT.quiet_hours)


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ({"time_zone": "Mars/Base"}, "preferences.time_zone"),
        ({"time_zone": "../etc/passwd"}, "preferences.time_zone"),
        ({"locale": "english please"}, "preferences.locale"),
        ({"quiet_hours": [{"start": "22:00", "end": "22:00"}]}, "preferences.quiet_hours[0].end"),
        ({"quiet_hours": [{"start": "24:00", "end": "07:00"}]}, "preferences.quiet_hours[0].start"),
        ({"quiet_hours": [{"start": "22:00"}]}, "preferences.quiet_hours[0].end"),
        (
            {"quiet_hours": [{"start": "22:00", "end": "07:00", "weekdays": ["MONDAY", "MONDAY"]}]},
            "preferences.quiet_hours[0].weekdays",
        ),
        ({"quiet_hours": [{"start": "22:00", "end": "07:00"}] * 22}, "preferences.quiet_hours"),
        (
            {"quiet_hours": [{"start": "00:00", "end": "12:00"}, {"start": "12:00", "end": "00:00"}]},
            "preferences.quiet_hours",
        ),
        ({"digests": {"security": {"push": {"every": "HOURLY"}}}}, "preferences.digests['security']"),
        ({"digests": {"social": {"push": {}}}}, "preferences.digests['social'].push.every"),
        ({"digests": {"social": {"push": {"every": "DAILY"}}}}, "preferences.digests['social'].push.at"),
        (
            {"digests": {"social": {"push": {"every": "HOURLY", "at": "09:00"}}}},
            "preferences.digests['social'].push.at",
        ),
        (
            {"digests": {"social": {"email": {"every": "WEEKLY", "at": "09:00"}}}},
            "preferences.digests['social'].email.weekday",
        ),
        ({"caps": [{"channel": "IN_APP", "most": 1, "per": "DAY"}]}, "preferences.caps[0].channel"),
        ({"caps": [{"channel": "PUSH", "per": "DAY"}]}, "preferences.caps[0].most"),
        ({"caps": [{"channel": "PUSH", "most": 1}]}, "preferences.caps[0].per"),
        (
            {"caps": [{"category": "SECURITY", "channel": "PUSH", "most": 1, "per": "DAY"}]},
            "preferences.caps[0].category",
        ),
        (
            {"caps": [{"channel": "PUSH", "most": most, "per": "DAY"} for most in (1, 2)]},
            "preferences.caps[1]",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_field(written: dict[str, Any], field: str) -> None:
    assert field in refused(written)


@pytest.mark.parametrize(
    "path",
    ["", "effective", "user_id", "categories.news", "categories.social.fax", "digests.social.in_app", "all_off.x",
     "categories.social.push.on", "categories."],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_no_path(path: str) -> None:
    assert forms.path_problem(path)


def test_a_patch_changes_what_it_names() -> None:
    given = Choices({"social": {"push": False}, "system": {"push": False}}, all_off=True, locale="fr")
    found = forms.changed(MEANT, given, ["categories.social.push", "all_off", "digests.social"])
    assert found == Choices(
        {"social": {"email": False, "push": False}},
        True,
        MEANT.quiet_hours,
        "Europe/Berlin",
        "de",
        {},
        MEANT.caps,
    )
    cleared = forms.changed(MEANT, Choices(), ["categories.social.email", "quiet_hours", "caps"])
    assert (cleared.categories, cleared.quiet_hours, cleared.caps) == ({}, (), ())


def test_what_is_effective_says_why() -> None:
    chosen = Choices(
        {"social": {"email": False}, "activity": {"push": True}},
        quiet_hours=(*MEANT.quiet_hours, QuietHours(frozenset(range(7)), 1_320, 420)),
        digests=MEANT.digests,
    )
    fields = forms.fields("u1", Kept(chosen), "Europe/Berlin", NIGHT)
    found = {(one.category, one.channel): one for one in fields["effective"]}
    assert len(found) == 25
    named = {(pair, found[pair].on, found[pair].why) for pair in [(2, 3), (1, 2), (2, 2), (4, 3), (5, 2)]}
    assert named == {
        ((2, 3), False, "PREFERENCE_OFF"),
        ((1, 2), True, "CHOSEN"),
        ((2, 2), True, "DEFAULT"),
        ((4, 3), False, "CONSENT_MISSING"),
        ((5, 2), True, "SECURITY"),
    }
    assert found[2, 2].digest.every == Rhythm.WEEKLY
    assert found[1, 2].quiet_until.ToDatetime() == datetime(2026, 11, 26, 6)  # noqa: DTZ001
    # Neither security nor the inbox, nor what is off anyway.
    assert not any(found[pair].HasField("quiet_until") for pair in [(5, 2), (1, 5), (2, 3)])


def test_a_patch_is_refused_without_a_mask() -> None:
    request = PatchNotificationPreferencesRequest(user_id="u1", preferences=form({"all_off": True}))
    assert {one.field for one in validation.violations(request)} == {"update_mask"}
