"""What a text says, within 1,600 units."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crown.notification.v1.notification_pb2 import NotificationData
from crown.rendering import Links
from services.sms.text import MOST_UNITS, compose, units

LINKS = Links("https://crown.example", ("crown.example",))
LINK = "https://crown.example/m/1"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"title": "A", "message": "B"}, "A\nB"),
        ({"title": "A"}, "A"),
        ({"message": " B \n"}, "B"),
        ({"title": "A", "message": "B", "action_url": "/m/1"}, f"A\nB\n{LINK}"),
        ({"message": "B", "action_url": "javascript:alert(1)"}, "B"),
        ({"title": "<b>&amp;"}, "<b>&amp;"),
    ],
)
def test_compose(data: dict[str, Any], expected: str) -> None:
    assert compose(NotificationData(**data), LINKS) == expected


def test_what_is_too_long_keeps_its_link() -> None:
    text = compose(NotificationData(title="A", message="x" * 8_000, action_url="/m/1"), LINKS)
    assert units(text) == MOST_UNITS
    assert text.endswith(f"xxx...\n{LINK}")


def test_exactly_as_long_as_allowed() -> None:
    assert compose(NotificationData(message="x" * MOST_UNITS), LINKS) == "x" * MOST_UNITS


@settings(deadline=None, max_examples=50)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3_000),
    st.sampled_from(["", "/m/1", "/" + "a" * 900]),
)
def test_never_longer_than_allowed(message: str, url: str) -> None:
    text = compose(NotificationData(message=message + "🎉" * 900, action_url=url), LINKS)
    assert units(text) <= MOST_UNITS
    assert text.encode()
    assert text.endswith(LINKS.action(url))
