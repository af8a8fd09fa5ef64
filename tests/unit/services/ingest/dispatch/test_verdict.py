"""What a filter's answer does to decisions, and what of an answer is believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from crown.notification.v1.filter_service_pb2 import FilterDecision
from crown.notification.v1.types_pb2 import Channel, DeliveryState, FilterAction
from crown.subjects import DELIVERED
from services.ingest.decide import Decision
from services.ingest.dispatch.verdict import SEND, Verdict, apply, read, undecided

PRESENT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
LATER = PRESENT + timedelta(hours=3)

SENT = [
    Decision(Channel.IN_APP, DeliveryState.DELIVERED),
    Decision(Channel.REAL_TIME, DeliveryState.DELIVERED),
    Decision(Channel.PUSH, DeliveryState.PENDING),
    Decision(Channel.EMAIL, DeliveryState.PENDING),
    Decision(Channel.SMS, DeliveryState.SUPPRESSED, "PREFERENCE_OFF"),
]


def told(decisions: list[Decision]) -> list[str]:
    return [f"{DeliveryState.Type.Name(one.state)} {one.reason}".strip() for one in decisions]


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def test_what_is_sent_stays_as_it_is() -> None:
    assert apply(SENT, SEND) == SENT


def test_what_is_dropped_goes_nowhere() -> None:
    found = apply(SENT, Verdict(FilterAction.DROP, "DUPLICATE"))
    assert told(found) == ["SUPPRESSED FILTERED: DUPLICATE"] * 4 + ["SUPPRESSED PREFERENCE_OFF"]
    assert [one.channel for one in found] == [one.channel for one in SENT]


def test_what_is_dropped_does_not_come_back_later() -> None:
    waits = Decision(
        Channel.PUSH, DeliveryState.DEFERRED, "DIGEST", due_time=LATER, digest="d", unless_read=True
    )
    (found,) = apply([waits], Verdict(FilterAction.DROP, "X"))
    assert found == Decision(Channel.PUSH, DeliveryState.SUPPRESSED, "FILTERED: X")


def test_what_is_held_waits_where_it_would_disturb() -> None:
    found = apply(SENT, Verdict(FilterAction.HOLD, due_time=LATER))
    assert told(found) == [
        "DELIVERED",
        "DELIVERED",
        "DEFERRED FILTER_HOLD",
        "DEFERRED FILTER_HOLD",
        "SUPPRESSED PREFERENCE_OFF",
    ]
    assert [one.due_time for one in found] == [None, None, LATER, LATER, None]


def test_what_waits_already_waits_as_it_did() -> None:
    waits = Decision(Channel.PUSH, DeliveryState.DEFERRED, "QUIET_HOURS", due_time=LATER)
    assert apply([waits], Verdict(FilterAction.HOLD, due_time=PRESENT + timedelta(days=1))) == [waits]


@pytest.mark.parametrize(
    ("better", "kept"),
    [
        ([Channel.EMAIL], ["EMAIL"]),
        ([Channel.IN_APP], []),
        ([Channel.EMAIL, Channel.SMS], ["EMAIL"]),
        # Nothing of it may be used: then it is no choice.
        ([Channel.SMS], ["PUSH", "EMAIL"]),
        ([], ["PUSH", "EMAIL"]),
    ],
    ids=["one", "the app alone", "with one that is off", "only one that is off", "none"],
)
def test_better_channels(better: list[Channel.Type.ValueType], kept: list[str]) -> None:
    found = apply(SENT, Verdict(channels=frozenset(better)))
    assert [Channel.Type.Name(one.channel) for one in found if one.open] == kept
    assert told(found)[:2] == ["DELIVERED", "DELIVERED"]
    assert told(found).count("SUPPRESSED FILTERED: BETTER_CHANNEL") == 2 - len(kept)


def test_a_better_time_on_a_better_channel() -> None:
    verdict = Verdict(FilterAction.HOLD, due_time=LATER, channels=frozenset({Channel.PUSH}))
    assert told(apply(SENT, verdict))[2:4] == ["DEFERRED FILTER_HOLD", "SUPPRESSED FILTERED: BETTER_CHANNEL"]


# -- what is believed


@pytest.mark.parametrize("action", ["ACTION_UNSPECIFIED", "SEND"])
def test_send_needs_nothing(action: str) -> None:
    given: Any = {"action": action}
    assert read(FilterDecision(**given), None, PRESENT) == SEND


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("DUPLICATE", "DUPLICATE"),
        ("", "OTHER"),
        ("Dear Ann, your secret", "OTHER"),
        ("A" * 65, "OTHER"),
        ("FATIGUE\n", "OTHER"),
    ],
)
def test_a_reason_is_a_word(reason: str, word: str) -> None:
    found = read(FilterDecision(action=FilterAction.DROP, reason=reason), None, PRESENT)
    assert found == Verdict(FilterAction.DROP, word)


@pytest.mark.parametrize(
    ("until", "due_time"),
    [
        (LATER, LATER),
        (PRESENT + timedelta(days=7), PRESENT + timedelta(days=7)),
        (PRESENT + timedelta(days=8), PRESENT + timedelta(days=7)),
    ],
    ids=["later", "a week", "longer"],
)
def test_a_hold_is_at_most_a_week(until: datetime, due_time: datetime) -> None:
    answer = FilterDecision(action=FilterAction.HOLD, better_time=stamp(until))
    assert read(answer, None, PRESENT) == Verdict(FilterAction.HOLD, due_time=due_time)


@pytest.mark.parametrize("until", [PRESENT, PRESENT - timedelta(days=1)], ids=["now", "past"])
def test_a_hold_until_now_is_none(until: datetime) -> None:
    answer = FilterDecision(action=FilterAction.HOLD, better_time=stamp(until))
    assert read(answer, None, PRESENT) == SEND


def test_a_hold_lets_nothing_expire() -> None:
    answer = FilterDecision(action=FilterAction.HOLD, better_time=stamp(LATER))
    assert read(answer, LATER, PRESENT) == SEND
    assert read(answer, LATER + timedelta(seconds=1), PRESENT) != SEND


@pytest.mark.parametrize(
    "answer",
    [
        FilterDecision(action=FilterAction.HOLD),
        FilterDecision(action=FilterAction.HOLD, better_time=Timestamp(seconds=10**15)),
        FilterDecision(action=FilterAction.HOLD, better_time=Timestamp(seconds=1, nanos=-5)),
        FilterDecision(action=77),  # type: ignore[arg-type]
    ],
    ids=["no time", "a time that there is not", "a broken time", "an action of tomorrow"],
)
def test_what_makes_no_sense(answer: FilterDecision) -> None:
    found = read(answer, None, PRESENT)
    assert found is None or found == SEND


STATES = st.sampled_from(
    [
        (DeliveryState.PENDING, ""),
        (DeliveryState.DELIVERED, ""),
        (DeliveryState.SUPPRESSED, "ALL_OFF"),
        (DeliveryState.DEFERRED, "QUIET_HOURS"),
        (DeliveryState.EXPIRED, "EXPIRED"),
    ]
)
CHANNELS = st.sampled_from([value for value in Channel.Type.values() if value])


@given(
    st.lists(st.tuples(CHANNELS, STATES), unique_by=lambda pair: pair[0], min_size=1, max_size=5),
    st.binary(max_size=60),
)
def test_no_answer_makes_more_of_it(parts: list[Any], raw: bytes) -> None:
    """Whatever bytes a filter sends: nothing goes where it would not have gone, and each channel has one end."""
    before = [Decision(channel, *state) for channel, state in parts]
    try:
        answer = FilterDecision.FromString(raw)
    except Exception:
        return
    after = apply(before, read(answer, None, PRESENT) or SEND)
    assert [one.channel for one in after] == [one.channel for one in before]
    assert set(undecided(after)) <= set(undecided(before))
    assert {one.channel for one in after if one.open} <= {one.channel for one in before if one.open}
    for one in after:
        if one.reason == "FILTER_HOLD":
            assert one.channel in DELIVERED
            assert one.due_time is not None
