"""How a text is cut."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.push.shortening import shortened

WORDS = "All work and no play makes Jack a dull boy. " * 20


def size(text: str) -> int:
    return len(msgspec.json.encode(text))


@given(text=st.text(min_size=100, max_size=600), surplus=st.integers(1, 200))
def test_it_is_as_much_shorter_as_asked(text: str, surplus: int) -> None:
    found = shortened(text, surplus)
    if found is not None:
        assert size(found) <= size(text) - surplus
        assert found.endswith("…")
        assert text.startswith(found[:-1])
        assert len(found) > 40


def test_no_more_than_needed() -> None:
    found = shortened("x" * 500, 100)
    assert found == "x" * (500 - 100 - 3) + "…"


def test_no_space_before_the_mark() -> None:
    text = "x" * 100 + " " * 50 + "y" * 100
    assert shortened(text, 120) == "x" * 100 + "…"


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param("e\u0301", id="accent"),
        pytest.param("👍🏽", id="skin tone"),
        pytest.param("👩\u200d👩\u200d👧", id="joined"),
        pytest.param("❤\ufe0f", id="variant"),
    ],
)
def test_it_ends_between_two_characters(cluster: str) -> None:
    text = cluster * 100
    for surplus in range(1, 60):
        found = shortened(text, surplus)
        assert found is not None
        assert len(found[:-1]) % len(cluster) == 0, found[-6:]


@pytest.mark.parametrize(
    ("text", "surplus"), [("", 1), ("short", 1), (WORDS, len(WORDS) - 20), (WORDS, 9_999)]
)
def test_too_little_would_be_left(text: str, surplus: int) -> None:
    assert shortened(text, surplus) is None
