"""When a schedule is due: through the days on which clocks change, and after it was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.schedules.times import after, missed, problems

BERLIN = "Europe/Berlin"
PRESENT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("cron", "begin", "coming"),
    [
        # Half past two is skipped on 29 March, when clocks go from two to three, and comes twice on 25 October.
        ("30 2 * * *", at(2026, 3, 28, 12), [at(2026, 3, 29, 1), at(2026, 3, 30, 0, 30)]),
        ("30 2 * * *", at(2026, 10, 24, 12), [at(2026, 10, 25, 0, 30), at(2026, 10, 26, 1, 30)]),
        ("0 * * * *", at(2026, 10, 24, 23, 30), [at(2026, 10, 25, n) for n in range(3)]),
        ("0 * * * *", at(2026, 3, 28, 23, 30), [at(2026, 3, 29, n) for n in range(3)]),
        ("0 9 * * *", at(2026, 3, 28, 6), [at(2026, 3, 28, 8), at(2026, 3, 29, 7)]),
        ("0 9 * * *", at(2026, 10, 24, 6), [at(2026, 10, 24, 7), at(2026, 10, 25, 8)]),
    ],
    ids=["skipped", "twice", "each hour back", "each hour on", "at nine on", "at nine back"],
)
def test_where_clocks_change(cron: str, begin: datetime, coming: list[datetime]) -> None:
    assert after(cron, BERLIN, begin)[: len(coming)] == coming


def test_five_times_and_later_than_now() -> None:
    assert after("0 12 * * *", "", PRESENT) == [PRESENT + timedelta(days=n) for n in range(1, 6)]


@pytest.mark.parametrize(
    ("cron", "zone", "field"),
    [
        ("* * *", "", "cron"),
        ("61 * * * *", "", "cron"),
        ("* 24 * * *", "", "cron"),
        ("* * * * * *", "", "cron"),
        ("@daily", "", "cron"),
        ("0 0 30 2 *", "", "cron"),
        ("", "", "cron"),
        ("* * * * *", "Mars/Olympus", "time_zone"),
        ("* * * * *", "../etc/passwd", "time_zone"),
    ],
)
def test_what_is_wrong_is_named(cron: str, zone: str, field: str) -> None:
    assert [found.field for found in problems(cron, zone, PRESENT)] == [field]


@pytest.mark.parametrize("cron", ["* * * * *", "0 9 * * MON-FRI", "*/15 8-18 1,15 JAN *", "0 0 29 2 *"])
def test_what_is_right(cron: str) -> None:
    assert problems(cron, BERLIN, PRESENT) == []


@pytest.mark.parametrize(
    ("due_time", "present", "sent"),
    [
        (PRESENT, PRESENT, PRESENT),
        (PRESENT, PRESENT + timedelta(seconds=59), PRESENT),
        (PRESENT, PRESENT + timedelta(minutes=10), PRESENT + timedelta(minutes=10)),
        (PRESENT - 30 * timedelta(days=1), PRESENT, PRESENT),
    ],
    ids=["in time", "a little late", "only the latest", "after a month"],
)
def test_of_missed_minutes_the_latest(due_time: datetime, present: datetime, sent: datetime) -> None:
    assert missed("* * * * *", "", due_time, present, HOUR) == sent


def test_what_is_older_than_the_grace_is_skipped() -> None:
    nine = PRESENT.replace(hour=9)
    assert missed("0 9 * * *", "", nine, nine + HOUR, HOUR) == nine
    assert missed("0 9 * * *", "", nine, nine + HOUR + timedelta(seconds=1), HOUR) is None


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 1 * *"]),
    st.integers(0, 365 * 86_400),
    st.integers(0, 4 * 86_400),
)
def test_each_time_is_sent_for_at_most_once(cron: str, begin_s: int, late_s: int) -> None:
    begin = at(2026, 1, 1) + timedelta(seconds=begin_s)
    due_time = after(cron, BERLIN, begin)[0]
    present = due_time + timedelta(seconds=late_s)
    sent = missed(cron, BERLIN, due_time, present, HOUR)
    assert after(cron, BERLIN, present)[0] > present
    if sent is not None:
        assert max(due_time, present - HOUR) <= sent <= present
        assert not [moment for moment in after(cron, BERLIN, sent) if moment <= present]
    else:
        assert late_s > HOUR.total_seconds()
