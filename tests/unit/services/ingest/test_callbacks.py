"""What providers' later words make of a delivery, in whatever order they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown.notification.v1.types_pb2 import CallbackType, DeliveryState
from services.ingest.books.callbacks import TOLD, Standing, Told, apply, below, rank

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
OURS = [value for value in DeliveryState.Type.values() if value not in TOLD]


def told(word: str, after_s: float = 0, **given: Any) -> Told:
    time = AT + timedelta(seconds=after_s)
    fields: dict[str, Any] = {"provider": "sendgrid", "reason": "", "occur_time": time, "receive_time": time}
    return Told(CallbackType.Type.Value(word), **{**fields, **given})


@pytest.mark.parametrize("state", OURS, ids=DeliveryState.Type.Name)
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("DELIVERED", "DELIVERED"),
        ("COMPLAINED", "DELIVERED"),
        ("BOUNCED", "BOUNCED"),
        ("DROPPED", "BOUNCED"),
        ("OPENED", "READ"),
        ("CLICKED", "READ"),
    ],
)
def test_a_provider_knows_better_than_we_do(
    state: DeliveryState.Type.ValueType, word: str, expected: str
) -> None:
    found = apply(Standing(state, reason="OUTCOME_UNKNOWN: TIMEOUT"), told(word))
    assert DeliveryState.Type.Name(found.state) == expected
    assert found.reason == (word if expected == "BOUNCED" else "")


@pytest.mark.parametrize("word", ["ACCEPTED", "DEFERRED", "UNSUBSCRIBED", "TYPE_UNSPECIFIED"])
@pytest.mark.parametrize("state", DeliveryState.Type.values(), ids=DeliveryState.Type.Name)
def test_what_changes_nothing(word: str, state: DeliveryState.Type.ValueType) -> None:
    standing = Standing(state, "reason")
    assert apply(standing, told(word)) == standing


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["BOUNCED", "DELIVERED"], "BOUNCED"),
        (["DELIVERED", "BOUNCED"], "BOUNCED"),
        (["OPENED", "BOUNCED"], "READ"),
        (["BOUNCED", "OPENED"], "READ"),
        (["CLICKED", "DELIVERED", "DEFERRED"], "READ"),
    ],
    ids=" ".join,
)
def test_never_backwards(words: list[str], expected: str) -> None:
    standing = Standing(DeliveryState.DELIVERED_TO_PROVIDER)
    for word in words:
        standing = apply(standing, told(word))
    assert DeliveryState.Type.Name(standing.state) == expected
    assert (standing.reason != "") == (expected == "BOUNCED")


def test_a_bounce_says_why() -> None:
    standing = Standing(DeliveryState.DELIVERED_TO_PROVIDER, provider="sendgrid")
    assert apply(standing, told("BOUNCED", reason="5.1.1")).reason == "BOUNCED: 5.1.1"
    assert apply(standing, told("DROPPED", reason="Invalid")).reason == "DROPPED: Invalid"


def test_a_bounce_of_a_provider_that_another_took_over_from_says_nothing() -> None:
    standing = Standing(DeliveryState.DELIVERED_TO_PROVIDER, provider="smtp")
    assert apply(standing, told("BOUNCED")) == standing
    assert apply(standing, told("DELIVERED")).state == DeliveryState.DELIVERED


def test_the_first_opening_and_the_first_click_stay() -> None:
    standing = Standing(DeliveryState.DELIVERED)
    for word, after_s in [("OPENED", 40), ("CLICKED", 90), ("OPENED", 20), ("OPENED", 60), ("CLICKED", 70)]:
        standing = apply(standing, told(word, after_s))
    assert standing.open_time == AT + timedelta(seconds=20)
    assert standing.click_time == AT + timedelta(seconds=70)


@pytest.mark.parametrize(
    ("occurred_s", "expected_s"), [(0, 0), (-3, 0), (-5, -5), (-600, -600), (30, 0)], ids=str
)
def test_where_a_callback_stands_in_the_story(occurred_s: float, expected_s: float) -> None:
    """A clock of whole seconds does not put it before the attempt, and a fast one not into the future."""
    found = told("DELIVERED", occur_time=AT + timedelta(seconds=occurred_s)).time
    assert found == AT + timedelta(seconds=expected_s)


_TOLD = st.builds(
    told,
    st.sampled_from([*CallbackType.Type.keys()]),
    st.integers(0, 100),
    provider=st.sampled_from(["sendgrid", "smtp"]),
    reason=st.just("5.1.1"),
)


@given(
    state=st.sampled_from(DeliveryState.Type.values()),
    provider=st.sampled_from(["", "sendgrid", "smtp"]),
    callbacks=st.lists(_TOLD, max_size=6),
    data=st.data(),
)
def test_any_order_and_any_repetition_end_the_same(
    state: DeliveryState.Type.ValueType, provider: str, callbacks: list[Told], data: st.DataObject
) -> None:
    first = other = Standing(state, provider=provider)
    for callback in callbacks:
        after = apply(first, callback)
        assert rank(after.state) >= rank(first.state), "it went back"
        assert after.state == first.state or first.state in below(after.state)
        first = after
    again = data.draw(st.lists(st.sampled_from(callbacks), max_size=4)) if callbacks else []
    for callback in data.draw(st.permutations([*callbacks, *again])):
        other = apply(other, callback)
    assert (other.state, other.open_time, other.click_time) == (
        first.state,
        first.open_time,
        first.click_time,
    )
