"""What the suite's own filter thinks of an item."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown.notification.v1.filter_service_pb2 import FilterHistory, FilterItem
from crown.notification.v1.types_pb2 import Category, Channel, FilterAction
from services.ingest.filter.rules import Bounds, evening, judge, worth

PRESENT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
BOUNDS = Bounds(10, 50)


def item(category: str = "ACTIVITY", channels: tuple[str, ...] = ("PUSH",), **history: int) -> FilterItem:
    fields: dict[str, Any] = {"category": category, "channels": channels}
    return FilterItem(item_id="i", history=FilterHistory(**history), **fields)


CASES = [
    ({}, "SEND", ""),
    ({"sent_last_hour": 9, "sent_last_day": 9}, "SEND", ""),
    ({"sent_last_hour": 10, "sent_last_day": 10}, "HOLD", "FATIGUE"),
    ({"sent_last_day": 49}, "SEND", ""),
    ({"sent_last_day": 50}, "HOLD", "FATIGUE"),
    ({"sent_last_day": 50, "category": "MARKETING"}, "DROP", "FATIGUE"),
    ({"sent_last_hour": 10, "category": "MARKETING"}, "HOLD", "FATIGUE"),
    ({"same_last_day": 1}, "DROP", "DUPLICATE"),
    ({"shown_lately": 9}, "SEND", ""),
    ({"shown_lately": 10}, "HOLD", "UNREAD"),
    ({"shown_lately": 20, "read_lately": 1}, "SEND", ""),
    ({"shown_lately": 10, "channels": ("PUSH", "IN_APP")}, "SEND", "UNREAD"),
]


@pytest.mark.parametrize(("given", "action", "reason"), CASES, ids=[str(case[0]) for case in CASES])
def test_each_rule(given: dict[str, Any], action: str, reason: str) -> None:
    found = judge(item(**given), BOUNDS, PRESENT)
    assert (FilterAction.Type.Name(found.action), found.reason) == (action, reason)
    assert found.item_id == "i"


def test_who_does_not_read_is_told_in_the_app_or_in_the_evening() -> None:
    quiet = judge(item(channels=("PUSH", "IN_APP"), shown_lately=10), BOUNDS, PRESENT)
    assert list(quiet.better_channels) == [Channel.IN_APP]
    held = judge(item(shown_lately=10), BOUNDS, PRESENT)
    assert held.better_time.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 26, 17, 0, tzinfo=UTC)


@pytest.mark.parametrize(("hour", "day"), [(0, 26), (16, 26), (17, 27), (23, 27)])
def test_the_next_evening(hour: int, day: int) -> None:
    found = evening(PRESENT.replace(hour=hour))
    assert (found.day, found.hour) == (day, 17)


@given(
    st.builds(
        FilterHistory, **{name: st.integers(0, 100) for name in FilterHistory.DESCRIPTOR.fields_by_name}
    )
)
def test_what_comes_out_makes_sense(history: FilterHistory) -> None:
    asked = item(category=Category.Type.Name(Category.SOCIAL))
    asked.history.CopyFrom(history)
    found = judge(asked, BOUNDS, PRESENT)
    assert 0 <= found.score <= 1
    assert 0 <= worth(history, BOUNDS) <= 1
    if found.action == FilterAction.HOLD:
        assert PRESENT < found.better_time.ToDatetime(tzinfo=UTC) <= PRESENT + timedelta(days=1)
    else:
        assert not found.HasField("better_time")
