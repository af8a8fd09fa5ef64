"""The one word for why an attempt failed, which becomes a label: never what a provider wrote behind it."""

from __future__ import annotations

import pytest

from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown, word


@pytest.mark.parametrize(
    ("outcome", "wanted"),
    [
        (Delivered("id"), ""),
        (Retry("UNAVAILABLE"), "UNAVAILABLE"),
        (Retry("RCPT_451: come again, +12025550100"), "RCPT_451"),
        (Snooze("Throttling (slow down)"), "Throttling"),
        (Discard("INVALID_NUMBER", "21211: no such number +12025550100"), "INVALID_NUMBER"),
        (Unknown("ReadTimeout"), "ReadTimeout"),
        (Unknown("+12025550100"), "OTHER"),
        (Unknown("12025550100"), "OTHER"),
        (Unknown("503 Service Unavailable"), "503"),
        (Unknown(""), "OTHER"),
        (Retry("A" * 100), "A" * 40),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:12],
)
def test_word(outcome: Outcome, wanted: str) -> None:
    assert word(outcome) == wanted
