"""Retry-After in every form that providers send."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crown import retry_after

NOW = datetime(2026, 11, 22, 10, 0, 0, 400_000, UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("3", 3.0, id="seconds"),
        pytest.param(" 2.5 ", 2.5, id="a fraction"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("86400", 86_400.0, id="a day"),
        pytest.param("999999999999999", 86_400.0, id="huge"),
        pytest.param("9" * 400, None, id="absurd"),
        pytest.param("Sun, 22 Nov 2026 10:00:30 GMT", 30.0, id="a date"),
        pytest.param("Sun, 22 Nov 2026 10:00:30", 30.0, id="a date without a zone"),
        pytest.param("Sun, 22 Nov 2026 09:00:00 GMT", 0.0, id="a date in the past"),
        pytest.param("Sun, 22 Nov 9999 09:00:00 GMT", 86_400.0, id="a date far ahead"),
        pytest.param("-5", None, id="negative"),
        pytest.param("abc", None, id="no sense"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="absent"),
        pytest.param("nan", None, id="nan"),
        pytest.param("1e3", None, id="exponent"),
        pytest.param("٣", None, id="digits of another script"),
    ],
)
def test_seconds(value: str | None, expected: float | None) -> None:
    assert retry_after.seconds(value, NOW) == expected


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_any_text_is_a_wait_of_up_to_a_day_or_none(value: str) -> None:
    found = retry_after.seconds(value, NOW)
    assert found is None or 0 <= found <= 86_400


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (str(int(NOW.timestamp()) + 10), 10.0),
        ("0", 0.0),
        ("99999999999", 86_400.0),
        ("soon", None),
        (None, None),
    ],
)
def test_until_epoch(value: str | None, expected: float | None) -> None:
    assert retry_after.until_epoch(value, NOW) == expected
