"""Local time: quiet hours, their ends, and when a digest goes out, with clocks that are put forward and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown import quiet_hours
from crown.choices import Digest, QuietHours
from crown.notification.v1.types_pb2 import Rhythm

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "UTC",
]
DAILY = frozenset(range(7))
NIGHT = QuietHours(DAILY, 22 * 60, 7 * 60)

moments = st.integers(0, 19 * 365 * 86_400).map(
    lambda s: datetime(2011, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
)
minutes = st.integers(0, 1_439)


@st.composite
def ranges(draw: st.DrawFn) -> QuietHours:
    start, end = draw(minutes), draw(minutes)
    if start == end:
        end = (end + 1) % 1_440
    return QuietHours(frozenset(draw(st.sets(st.integers(0, 6), min_size=1))), start, end)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_a_night_ends_in_the_morning() -> None:
    over = quiet_hours.over([NIGHT], "Europe/Berlin", at("2026-11-25T23:30+01:00"))
    assert over == at("2026-11-26T07:00+01:00")


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-11-25T21:59:59+01:00", False),
        ("2026-11-25T22:00+01:00", True),
        ("2026-11-26T06:59:59+01:00", True),
        ("2026-11-26T07:00+01:00", False),
    ],
)
def test_the_bounds(moment: str, quiet: bool) -> None:
    assert (quiet_hours.over([NIGHT], "Europe/Berlin", at(moment)) > at(moment)) == quiet


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    friday = QuietHours(frozenset({4}), 22 * 60, 7 * 60)
    saturday_morning, saturday_night = at("2026-11-28T03:00+00:00"), at("2026-11-28T23:00+00:00")
    assert quiet_hours.over([friday], "UTC", saturday_morning) == at("2026-11-28T07:00+00:00")
    assert quiet_hours.over([friday], "UTC", saturday_night) == saturday_night


def test_quiet_hours_that_meet_are_one() -> None:
    both = [QuietHours(DAILY, 22 * 60, 2 * 60), QuietHours(DAILY, 2 * 60, 7 * 60)]
    assert quiet_hours.over(both, "UTC", at("2026-11-25T23:00+00:00")) == at("2026-11-26T07:00+00:00")


def test_an_end_that_is_skipped_is_the_moment_after_the_gap() -> None:
    # In Berlin 02:00 to 03:00 is skipped on 2026-03-29.
    hours = QuietHours(DAILY, 22 * 60, 2 * 60 + 30)
    assert quiet_hours.over([hours], "Europe/Berlin", at("2026-03-29T00:30+01:00")) == at(
        "2026-03-29T01:00+00:00"
    )


def test_an_end_that_comes_twice_is_the_later() -> None:
    # In Berlin 02:00 to 03:00 comes twice on 2026-10-25.
    hours = QuietHours(DAILY, 22 * 60, 2 * 60 + 30)
    first, second = at("2026-10-25T02:30+02:00"), at("2026-10-25T02:30+01:00")
    assert quiet_hours.over([hours], "Europe/Berlin", first - timedelta(hours=1)) == second
    assert quiet_hours.over([hours], "Europe/Berlin", first + timedelta(minutes=40)) == second


def test_a_start_that_comes_twice_is_the_earlier() -> None:
    hours = QuietHours(DAILY, 2 * 60 + 30, 7 * 60)
    between = at("2026-10-25T02:45+02:00")
    assert quiet_hours.over([hours], "Europe/Berlin", between) == at("2026-10-25T07:00+01:00")


def test_half_an_hour_is_skipped_on_lord_howe() -> None:
    # 02:00 to 02:30 on 2026-10-04.
    assert quiet_hours.instant("Australia/Lord_Howe", date(2026, 10, 4), 125) == at("2026-10-04T02:30+11:00")


def test_a_day_that_is_skipped_has_passed_with_the_gap() -> None:
    # Samoa had no 30 December 2011.
    assert quiet_hours.instant("Pacific/Apia", date(2011, 12, 30), 540) == at("2011-12-31T00:00+14:00")


@given(st.lists(ranges(), min_size=1, max_size=6), st.sampled_from(ZONES), moments)
def test_the_end_is_not_quiet_and_all_before_it_is(
    hours: list[QuietHours], zone: str, moment: datetime
) -> None:
    end = quiet_hours.over(hours, zone, moment)
    assert end >= moment
    if end - moment < timedelta(days=8):
        assert quiet_hours.over(hours, zone, end) == end
    if end > moment:
        middle = moment + (end - moment) / 2
        assert quiet_hours.over(hours, zone, middle) > middle
        assert quiet_hours.over(hours, zone, end - timedelta(microseconds=1)) >= end


@given(st.sampled_from(ZONES), moments, minutes)
def test_the_next_time_of_day_is_shown_by_the_clock(zone: str, moment: datetime, minute: int) -> None:
    found = quiet_hours.next_at(zone, minute, moment)
    assert moment <= found <= moment + timedelta(hours=49)
    shown = found.astimezone(ZoneInfo(zone))
    if shown.hour * 60 + shown.minute != minute:
        # Skipped: the clock was put forward at that moment, over this time.
        before = (found - timedelta(seconds=1)).astimezone(ZoneInfo(zone))
        assert before.utcoffset() != shown.utcoffset()


digests = st.one_of(
    st.just(Digest(Rhythm.HOURLY)),
    minutes.map(lambda at: Digest(Rhythm.DAILY, at)),
    st.builds(lambda at, day: Digest(Rhythm.WEEKLY, at, day), minutes, st.integers(0, 6)),
)


@given(digests, st.sampled_from(ZONES), moments)
def test_a_window_ends_after_what_is_in_it_and_in_time(digest: Digest, zone: str, moment: datetime) -> None:
    end = quiet_hours.window_end(digest, zone, moment)
    most = {
        Rhythm.HOURLY: timedelta(hours=1),
        Rhythm.DAILY: timedelta(hours=49),
        Rhythm.WEEKLY: timedelta(days=9),
    }
    assert moment < end <= moment + most[digest.every]
    # All that happens until then is in the same window.
    assert quiet_hours.window_end(digest, zone, moment + (end - moment) / 2) == end


def test_hours_are_those_of_the_persons_clock() -> None:
    # Kathmandu is 5 h 45 min ahead.
    end = quiet_hours.window_end(Digest(Rhythm.HOURLY), "Asia/Kathmandu", at("2026-11-25T10:00+05:45"))
    assert end == at("2026-11-25T11:00+05:45")
