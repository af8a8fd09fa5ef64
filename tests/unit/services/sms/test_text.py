"""What a text says, within the segments that are allowed."""

# ruff: noqa: RUF001

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crown.notification.v1.notification_pb2 import NotificationData
from crown.rendering import Links
from services.sms.segments import count
from services.sms.text import Texts

LINKS = Links("https://crown.example", ("crown.example",))
LINK = "https://crown.example/m/1"
TEXTS = Texts(LINKS)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"title": "A", "message": "B"}, "A\nB"),
        ({"title": "A"}, "A"),
        ({"message": " B \n"}, "B"),
        ({"title": "A", "message": "B", "action_url": "/m/1"}, f"A\nB\n{LINK}"),
        ({"message": "B", "action_url": "javascript:alert(1)"}, "B"),
        ({"title": "<b>&amp;"}, "<b>&amp;"),
        ({"title": " ", "message": "\t\n"}, ""),
        ({"title": " ", "action_url": "/m/1"}, LINK),
    ],
)
def test_compose(data: dict[str, Any], expected: str) -> None:
    assert TEXTS.compose(NotificationData(**data)) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Ann’s “mail” – read it…", 'Ann\'s "mail" - read it...'),
        ("10\u202f000\u00a0€", "10 000 €"),
        ("a\u200bb\ufeff", "ab"),
        # As some keyboards write it: a letter and its accent, two characters.
        ("Cafe\u0301", "Café"),
        # Needs UCS-2 anyway.
        ("Ann’s “жук”", "Ann’s “жук”"),
        ("👩‍💻 “hi”", "👩‍💻 “hi”"),
        ("ç’", "ç’"),
        ("Cafe\u0301 ç", "Cafe\u0301 ç"),
    ],
)
def test_typographic_signs_are_plain_where_that_saves_segments(message: str, expected: str) -> None:
    assert TEXTS.compose(NotificationData(message=message)) == expected


def test_what_is_too_long_keeps_its_link() -> None:
    text = TEXTS.compose(NotificationData(title="A", message="x" * 8_000, action_url="/m/1"))
    assert count(text).segments == 6
    assert len(text) == 6 * 153
    assert text.endswith(f"xxx...\n{LINK}")


def test_exactly_as_long_as_allowed() -> None:
    assert TEXTS.compose(NotificationData(message="x" * 918)) == "x" * 918
    assert TEXTS.compose(NotificationData(message="x" * 919)) == "x" * 915 + "..."


def test_an_emoji_halves_what_fits() -> None:
    text = TEXTS.compose(NotificationData(message="🎉" + "x" * 8_000))
    assert count(text).units == 6 * 67


def test_an_emoji_that_is_cut_off_costs_nothing() -> None:
    text = Texts(LINKS, 1).compose(NotificationData(message="x" * 160 + "🎉"))
    assert count(text).segments == 1
    assert text == "x" * 157 + "..."


def test_a_link_that_nothing_fits_with_is_left_out() -> None:
    data = NotificationData(message="B", action_url="/" + "a" * 2_000)
    assert TEXTS.compose(data) == "B"


@settings(deadline=None, max_examples=100)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3_000),
    st.sampled_from(["", "/m/1", "/" + "a" * 300]),
    st.integers(1, 10),
    st.sampled_from(["", "€" * 900, "🎉" * 900]),
)
def test_never_longer_than_allowed(message: str, url: str, most: int, more: str) -> None:
    texts = Texts(LINKS, most)
    text = texts.compose(NotificationData(message=message + more, action_url=url))
    assert count(text).segments <= most
    assert len(text) <= 1_600
    text.encode()
    if most >= 6:
        assert text.endswith(LINKS.action(url))
    else:
        assert LINKS.action(url) in text or "crown.example" not in text
