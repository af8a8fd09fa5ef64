"""What becomes of a delivery: every outcome, on every channel, for every category."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown import backoff
from crown.judgement import KILLED_MOST, Rules, as_is, final, judge, poisoned, vet
from crown.ledger import FINAL, Change, Entry
from crown.notification.v1.events_pb2 import DeliveryEvent
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CHANNELS = (Channel.PUSH, Channel.EMAIL, Channel.SMS)
CATEGORIES = tuple(value for value in Category.Type.values() if value)
PENDING, RETRYING = DeliveryState.PENDING, DeliveryState.RETRYING
FAILED, UNKNOWN, EXPIRED = DeliveryState.FAILED, DeliveryState.UNKNOWN, DeliveryState.EXPIRED
TO_PROVIDER = DeliveryState.DELIVERED_TO_PROVIDER
RULES = Rules()


def entry(**given: Any) -> Entry:
    """A delivery that nothing has happened to, unless `given` says so."""
    event = DeliveryEvent(
        delivery_id="d",
        notification_id="n",
        user_id="u",
        channel=given.pop("channel", Channel.PUSH),
        priority=2,  # type: ignore[arg-type]
    )
    usual: dict[str, Any] = {
        "state": PENDING,
        "reason": "",
        "attempts": 0,
        "claims": 0,
        "unknowns": 0,
        "done": (),
        "due_time": None,
        "provider": "",
        "provider_message_id": "",
        "kind": "like",
        "category": Category.SOCIAL,
        "create_time": NOW - timedelta(minutes=1),
        "expire_time": None,
        "wrapped_key": b"k",
        "ciphertext": b"c",
    }
    return Entry(event, **{**usual, **given})


def judged(found: Entry, outcome: Outcome, seed: int = 1) -> Change:
    return judge(found, "acme", outcome, NOW, random.Random(seed), RULES)


def wait_s(change: Change) -> float:
    assert change.due_time is not None
    return (change.due_time - NOW).total_seconds()


# -- before an attempt


@pytest.mark.parametrize("state", sorted(FINAL), ids=DeliveryState.Type.Name)
def test_what_is_final_stays(state: DeliveryState.Type.ValueType) -> None:
    found = entry(state=state, reason="why", attempts=3, claims=4, provider="acme", expire_time=NOW)
    assert vet(found, NOW, RULES) == as_is(found)


def test_what_was_cancelled_is_not_attempted() -> None:
    change = vet(entry(cancelled=True), NOW, RULES)
    assert change is not None
    assert (change.state, change.reason) == (DeliveryState.CANCELLED, "")
    sent = entry(cancelled=True, state=DeliveryState.DELIVERED_TO_PROVIDER)
    assert vet(sent, NOW, RULES) == as_is(sent)


def test_final_is_all_but_what_waits() -> None:
    open_states = {DeliveryState.STATE_UNSPECIFIED, PENDING, RETRYING, DeliveryState.DEFERRED}
    assert set(DeliveryState.Type.values()) - FINAL == open_states


@pytest.mark.parametrize(
    ("due_in_s", "waits"), [(None, False), (-60, False), (0, False), (1, False), (1.1, True), (900, True)]
)
def test_a_retry_ahead_is_waited_for(due_in_s: float | None, waits: bool) -> None:
    due = None if due_in_s is None else NOW + timedelta(seconds=due_in_s)
    found = entry(state=RETRYING, due_time=due, claims=1, attempts=1)
    assert vet(found, NOW, RULES) == (as_is(found) if waits else None)


@pytest.mark.parametrize(
    ("expires_in_s", "expired"), [(None, False), (0.001, False), (0, True), (-1, True), (-86_400, True)]
)
def test_what_expired_is_not_sent(expires_in_s: float | None, expired: bool) -> None:
    expire = None if expires_in_s is None else NOW + timedelta(seconds=expires_in_s)
    found = entry(expire_time=expire, claims=1, attempts=1, done=("a",))
    change = vet(found, NOW, RULES)
    assert (change is not None) == expired
    if change is not None:
        assert (change.state, change.reason, change.due_time) == (EXPIRED, "EXPIRED", None)
        assert (change.attempts, change.claims, change.done) == (1, 1, ("a",))


@pytest.mark.parametrize(
    ("age", "reopened", "expired"),
    [
        (timedelta(hours=71), None, False),
        (timedelta(hours=72), None, True),
        (timedelta(days=9), None, True),
        (timedelta(days=9), timedelta(hours=71), False),
        (timedelta(days=9), timedelta(hours=72), True),
    ],
)
def test_nothing_is_sent_for_ever(age: timedelta, reopened: timedelta | None, expired: bool) -> None:
    found = entry(create_time=NOW - age, reopen_time=None if reopened is None else NOW - reopened)
    change = vet(found, NOW, RULES)
    assert (change is not None and change.state == EXPIRED) == expired


def test_its_own_end_may_come_before_that_of_all() -> None:
    short = Rules(timedelta(minutes=5))
    found = entry(expire_time=NOW + timedelta(hours=1), create_time=NOW - timedelta(minutes=4))
    assert vet(found, NOW, short) is None
    assert vet(found, NOW + timedelta(minutes=1), short) is not None
    assert judged(found, Retry("E", 61 * 60)).state == EXPIRED
    late = judge(found, "acme", Retry("E", 60.0), NOW, random.Random(1), short)
    assert (late.state, late.reason) == (EXPIRED, "EXPIRED: E")


def test_what_kills_workers_before_a_claim_is_put_aside_under_a_number_of_its_own() -> None:
    change = poisoned(entry(claims=2, attempts=1))
    assert (change.state, change.reason) == (FAILED, "POISON_KILLED_WORKER")
    assert (change.claims, change.attempts) == (3, 1)


@pytest.mark.parametrize("outcome", [Unknown("WORKER_GONE"), Retry("NOT_LISTED")], ids=type)
def test_what_kills_workers_at_the_provider_is_put_aside(outcome: Outcome) -> None:
    found, kills = entry(channel=Channel.EMAIL), 0
    while found.state not in FINAL:
        change = judge(found, "acme", outcome, NOW, random.Random(1), RULES, killed=True)
        found, kills = lived(found, change), kills + 1
    assert (found.state, found.reason, kills) == (FAILED, "POISON_KILLED_WORKER", KILLED_MOST)


def test_a_worker_that_lives_clears_the_delivery_of_suspicion() -> None:
    change = judged(entry(kills=KILLED_MOST - 1), Retry("E1"))
    assert (change.state, change.kills) == (RETRYING, 0)
    found = judge(entry(kills=9), "acme", Delivered("m"), NOW, random.Random(1), RULES, killed=True)
    assert found.state == TO_PROVIDER


def test_an_end_without_an_attempt_counts_none() -> None:
    found = entry(state=RETRYING, attempts=2, claims=3, unknowns=1, due_time=NOW, provider="acme")
    change = final(found, DeliveryState.SUPPRESSED, "PREFERENCE_OFF")
    assert change == replace(
        as_is(found), state=DeliveryState.SUPPRESSED, reason="PREFERENCE_OFF", due_time=None
    )


# -- after an attempt

OUTCOMES: dict[str, tuple[Outcome, DeliveryState.Type.ValueType, str, int]] = {
    "delivered": (Delivered("m-1"), TO_PROVIDER, "", 1),
    "retry": (Retry("E1"), RETRYING, "E1", 1),
    "snooze": (Snooze("429"), RETRYING, "429", 0),
    "discard": (Discard("INVALID_NUMBER", "21211"), FAILED, "INVALID_NUMBER: 21211", 1),
    "discard without a code": (Discard("REFUSED", ""), FAILED, "REFUSED", 1),
}
EVERYWHERE = list(itertools.product(CHANNELS, CATEGORIES))


@pytest.mark.parametrize(("channel", "category"), EVERYWHERE, ids=str)
@pytest.mark.parametrize("name", OUTCOMES)
def test_a_clear_outcome_is_the_same_everywhere(
    name: str, channel: Channel.Type.ValueType, category: Category.Type.ValueType
) -> None:
    outcome, state, reason, attempts = OUTCOMES[name]
    change = judged(entry(channel=channel, category=category), outcome)
    assert (change.state, change.reason, change.provider) == (state, reason, "acme")
    assert (change.attempts, change.claims, change.unknowns) == (attempts, 1, 0)
    assert change.provider_message_id == ("m-1" if name == "delivered" else "")
    assert (change.due_time is not None) == (state == RETRYING)


def test_devices_that_are_gone_do_not_take_back_what_reached_another() -> None:
    change = judged(entry(done=("phone",), attempts=1, claims=1), Discard("UNREGISTERED", ""))
    assert (change.state, change.reason) == (TO_PROVIDER, "")


@pytest.mark.parametrize(("channel", "category"), EVERYWHERE, ids=str)
def test_an_unknown_one_hangs_on_channel_and_category(
    channel: Channel.Type.ValueType, category: Category.Type.ValueType
) -> None:
    first = judged(entry(channel=channel, category=category), Unknown("TIMEOUT"))
    second = judged(
        entry(channel=channel, category=category, attempts=1, claims=1, unknowns=1), Unknown("TIMEOUT")
    )
    if channel != Channel.SMS:
        expected = (RETRYING, RETRYING)
    elif category == Category.SECURITY:
        expected = (RETRYING, UNKNOWN)
    else:
        expected = (UNKNOWN, UNKNOWN)
    assert (first.state, second.state) == expected
    assert (first.unknowns, second.unknowns) == (1, 2)
    assert (first.attempts, second.attempts) == (1, 2)
    for change in (first, second):
        assert change.reason == ("TIMEOUT" if change.state == RETRYING else "OUTCOME_UNKNOWN: TIMEOUT")
        assert (change.due_time is None) == (change.state == UNKNOWN)


@pytest.mark.parametrize("outcome", [Retry("E1"), Unknown("TIMEOUT")], ids=["retry", "unknown"])
def test_after_the_last_attempt_it_is_given_up(outcome: Outcome) -> None:
    last = backoff.ATTEMPTS_MOST - 1
    before = judged(entry(attempts=last - 1, claims=last - 1), outcome)
    after = judged(entry(attempts=last, claims=last), outcome)
    assert (before.state, after.state) == (RETRYING, FAILED)
    assert after.reason in {"RETRIES_EXHAUSTED: E1", "RETRIES_EXHAUSTED: TIMEOUT"}
    assert after.due_time is None


def test_to_be_asked_to_wait_costs_no_attempt() -> None:
    found = entry()
    for _ in range(100):
        change = judged(found, Snooze("429", 30.0))
        assert (change.state, change.attempts) == (RETRYING, 0)
        found = replace(found, claims=change.claims, attempts=change.attempts, state=change.state)
    assert found.claims == 100


@pytest.mark.parametrize(
    ("outcome", "attempts", "low", "high"),
    [
        (Retry("E"), 0, 1.5, 2.5),
        (Retry("E"), 4, 24, 40),
        (Retry("E"), 10, 675, 1125),
        (Retry("E", 60.0), 0, 60, 60),
        (Retry("E", 1e9), 0, 3600, 3600),
        (Retry("E", -5.0), 0, 1.5, 2.5),
        (Snooze("E"), 0, 1.5, 2.5),
        (Snooze("E", 90.0), 0, 90, 90),
        (Unknown("E"), 2, 6, 10),
    ],
)
def test_how_long_it_waits(outcome: Outcome, attempts: int, low: float, high: float) -> None:
    for seed in range(20):
        assert low <= wait_s(judged(entry(attempts=attempts, claims=attempts), outcome, seed)) <= high


def test_what_waits_for_a_provider_that_says_nothing_waits_longer_each_time() -> None:
    waits = [wait_s(judged(entry(claims=claims), Snooze("429"))) for claims in (0, 2, 4, 6)]
    assert waits == sorted(waits)
    assert waits[-1] > 60


@pytest.mark.parametrize("outcome", [Retry("E1", 60.0), Snooze("E1", 60.0)], ids=["retry", "snooze"])
@pytest.mark.parametrize(
    ("expires_in_s", "state"), [(59, EXPIRED), (60, EXPIRED), (61, RETRYING), (3600, RETRYING)]
)
def test_a_retry_that_would_come_too_late_is_not_made(
    outcome: Outcome, expires_in_s: float, state: DeliveryState.Type.ValueType
) -> None:
    change = judged(entry(expire_time=NOW + timedelta(seconds=expires_in_s)), outcome)
    assert change.state == state
    assert change.reason == ("EXPIRED: E1" if state == EXPIRED else "E1")
    assert (change.due_time is None) == (state == EXPIRED)


@pytest.mark.parametrize(
    "outcome", [Retry("E", None, ("b",)), Snooze("E", None, ("b",)), Unknown("E", ("b",))], ids=type
)
def test_what_some_devices_have_is_remembered(outcome: Outcome) -> None:
    assert judged(entry(done=("a",)), outcome).done == ("a", "b")


# -- over the life of a delivery

ANY_OUTCOME: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Delivered, st.text(max_size=3)),
    st.builds(Retry, st.just("E"), st.none() | st.floats(-10, 1e6)),
    st.builds(Snooze, st.just("E"), st.none() | st.floats(-10, 1e6)),
    st.builds(Discard, st.just("NO"), st.just("1")),
    st.builds(Unknown, st.just("TIMEOUT")),
)


def lived(found: Entry, change: Change) -> Entry:
    """The entry after the ledger has the change."""
    return replace(
        found,
        state=change.state,
        reason=change.reason,
        attempts=change.attempts,
        claims=change.claims,
        unknowns=change.unknowns,
        due_time=change.due_time,
        done=change.done,
        kills=change.kills,
    )


@given(
    st.lists(ANY_OUTCOME, max_size=60),
    st.sampled_from(CHANNELS),
    st.sampled_from(CATEGORIES),
    st.none() | st.integers(0, 86_400),
    st.integers(),
)
def test_a_life_is_bounded_and_ends_once(
    outcomes: list[Outcome],
    channel: Channel.Type.ValueType,
    category: Category.Type.ValueType,
    lives_s: int | None,
    seed: int,
) -> None:
    chance = random.Random(seed)
    moment = NOW
    expire = None if lives_s is None else NOW + timedelta(seconds=lives_s)
    found = entry(channel=channel, category=category, expire_time=expire)
    sends = 0
    for outcome in outcomes:
        change = vet(found, moment, RULES)
        if change is not None:
            break
        sends += not isinstance(outcome, Snooze)
        change = judge(found, "acme", outcome, moment, chance, RULES)
        assert change.claims == found.claims + 1
        assert 0 <= change.attempts - found.attempts <= 1
        assert (change.state in FINAL) == (change.due_time is None)
        found = lived(found, change)
        moment = max(moment, change.due_time or moment)
    assert sends <= backoff.ATTEMPTS_MOST
    if found.state in FINAL:
        assert vet(found, moment + timedelta(days=9), RULES) == as_is(found)
    if channel == Channel.SMS:
        allowed = 1 if category == Category.SECURITY else 0
        assert found.unknowns <= allowed + 1


@pytest.mark.parametrize(
    ("send", "reopened", "since"),
    [
        pytest.param(None, None, -60, id="at once"),
        pytest.param(-30, None, -30, id="later, as its sender wished"),
        pytest.param(-90, None, -60, id="at a time that was past when it was accepted"),
        pytest.param(-30, -10, -10, id="later, and then put off"),
    ],
)
def test_somebody_waits_from_when_it_was_due(send: int | None, reopened: int | None, since: int) -> None:
    def ago(seconds: int | None) -> Any:
        return None if seconds is None else NOW + timedelta(seconds=seconds)

    assert entry(send_time=ago(send), reopen_time=ago(reopened)).due_since == ago(since)
