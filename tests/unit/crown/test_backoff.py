"""When to try again: the sequence, its jitter, and what a provider may ask for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown import backoff


def test_the_sequence() -> None:
    shown = [backoff.plain_s(attempt) for attempt in range(1, 13)]
    assert shown == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_twelve_attempts_span_about_47_minutes() -> None:
    waits = [backoff.plain_s(attempt) for attempt in range(1, backoff.ATTEMPTS_MOST)]
    assert sum(waits) / 60 == pytest.approx(47, abs=1)


@given(st.integers(1, 10**9), st.integers())
def test_jitter_is_a_quarter_either_way(attempt: int, seed: int) -> None:
    plain = backoff.plain_s(attempt)
    assert 0.75 * plain <= backoff.delay_s(attempt, None, random.Random(seed)) <= 1.25 * plain
    assert plain <= backoff.MOST_S


def test_what_failed_together_does_not_come_back_together() -> None:
    chance = random.Random(7)
    found = {round(backoff.delay_s(1, None, chance), 2) for _ in range(200)}
    assert len(found) > 50


@given(st.integers(1, 20), st.floats(allow_nan=True), st.integers())
def test_a_provider_s_wish_counts_up_to_an_hour(attempt: int, asked_s: float, seed: int) -> None:
    own = backoff.delay_s(attempt, None, random.Random(seed))
    found = backoff.delay_s(attempt, asked_s, random.Random(seed))
    assert own <= found <= max(own, backoff.ASKED_MOST_S)
    if own < asked_s <= backoff.ASKED_MOST_S:
        assert found == asked_s


def test_the_page_shows_the_sequence() -> None:
    page = (Path(__file__).parents[3] / "docs" / "delivery.md").read_text()
    waits = [int(backoff.plain_s(attempt)) for attempt in range(1, 11)]
    first, *others, last = waits
    told = f"waits {first} s after the first, then {', '.join(map(str, others))}, and then {last} s"
    assert told in " ".join(page.split())
    assert "After twelve attempts" in page
    assert backoff.ATTEMPTS_MOST == 12
