"""What is kept of an answer: one word for why an attempt failed, which becomes a label, and codes that are like
codes; never what a provider wrote beside them, which may have an address in it."""

from __future__ import annotations

import pytest

from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown, error_code, without, word


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


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("UNREGISTERED", "UNREGISTERED"),
        ("InvalidParameter", "InvalidParameter"),
        (
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
        ),
        ("", "404"),
        ("ann@heron.example", "404"),
        ("token heron-device-1 is gone", "404"),
        ("heron-device-1", "404"),
        ("+12025550100", "404"),
        ("12025550100", "404"),
        ("A" * 65, "404"),
        ("UNREGISTERED\n", "404"),
    ],
)
def test_a_code_is_like_one(told: str, kept: str) -> None:
    assert error_code(told, "404") == kept


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Delivered("m-1"), Delivered("m-1")),
        (Delivered("m-1/ann@heron.example"), Delivered("")),
        (Retry("451"), Retry("451")),
        (Retry("to ann@heron.example later", 3.0, ("d",)), Retry("OTHER", 3.0, ("d",))),
        (Snooze("+12025550100"), Snooze("OTHER")),
        (Discard("INVALID_NUMBER", "no +12025550100"), Discard("INVALID_NUMBER", "OTHER")),
        (Unknown("x+12025550100x"), Unknown("OTHER")),
    ],
    ids=str,
)
def test_an_address_that_is_repeated_is_not_kept(outcome: Outcome, kept: Outcome) -> None:
    assert without(outcome, ["ann@heron.example", "+12025550100"]) == kept
