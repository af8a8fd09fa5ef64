"""Who gets what where."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown import quiet_hours
from crown.choices import Cap, Choices, Digest, QuietHours
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, Rhythm, Span
from crown.subjects import CHANNELS
from services.ingest.decide import Asked, Decision, Person, Waiting, again, decide
from tests.unit.crown.test_quiet_hours import ZONES, digests, moments, ranges

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALL = list(CHANNELS)
AT_ONCE = {Channel.IN_APP, Channel.REAL_TIME}


def decided(
    choices: Mapping[str, Mapping[str, bool]] | None = None,
    category: Category.Type.ValueType = Category.SOCIAL,
    expire_time: datetime | None = None,
) -> dict[Channel.Type.ValueType, Decision]:
    asked = Asked(tuple(ALL), category, expire_time=expire_time)
    found = decide(asked, Person(choices=Choices(choices or {})), NOW)
    assert [decision.channel for decision in found] == ALL
    return {decision.channel: decision for decision in found}


def test_inbox_and_sockets_are_done_and_the_rest_is_open() -> None:
    for channel, decision in decided().items():
        done = channel in AT_ONCE
        assert decision.state == (DeliveryState.DELIVERED if done else DeliveryState.PENDING)
        assert (decision.open, decision.reason) == (not done, "")


@pytest.mark.parametrize("channel", ALL, ids=Channel.Type.Name)
def test_an_opt_out_is_obeyed_with_a_reason(channel: Channel.Type.ValueType) -> None:
    word = Channel.Type.Name(channel).lower()
    found = decided({"social": {word: False}})
    assert found[channel] == Decision(channel, DeliveryState.SUPPRESSED, "PREFERENCE_OFF")
    assert not found[channel].open
    assert [d.reason for c, d in found.items() if c != channel] == [""] * 4


def test_marketing_waits_for_consent() -> None:
    found = decided(category=Category.MARKETING)
    assert {c for c, d in found.items() if d.reason == "CONSENT_MISSING"} == set(ALL) - AT_ONCE
    assert decided({"marketing": {"email": True}}, Category.MARKETING)[Channel.EMAIL].open


def test_security_passes_every_choice() -> None:
    off = {Channel.Type.Name(channel).lower(): False for channel in ALL}
    found = decided({"security": off}, Category.SECURITY)
    assert {d.reason for d in found.values()} == {""}


@pytest.mark.parametrize(("seconds", "expired"), [(None, False), (1, False), (0, True), (-60, True)])
def test_what_expired_goes_nowhere(seconds: int | None, expired: bool) -> None:
    found = decided(expire_time=None if seconds is None else NOW + timedelta(seconds=seconds))
    assert all((d.state == DeliveryState.EXPIRED) == expired for d in found.values())
    if expired:
        assert {(d.reason, d.open) for d in found.values()} == {("EXPIRED", False)}


# -- time

NIGHT = (QuietHours(frozenset(range(7)), 22 * 60, 7 * 60),)
MIDNIGHT = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
MORNING = datetime(2026, 11, 23, 7, tzinfo=UTC)
SOUNDS = {Channel.PUSH, Channel.EMAIL, Channel.SMS}


def by_channel(
    asked: Asked, choices: Choices, moment: datetime = MIDNIGHT
) -> dict[Channel.Type.ValueType, Decision]:
    return {one.channel: one for one in decide(asked, Person("u1", choices), moment)}


def test_quiet_hours_hold_what_makes_a_sound() -> None:
    found = by_channel(Asked(tuple(ALL), Category.SOCIAL), Choices(quiet_hours=NIGHT))
    for channel, decision in found.items():
        if channel in SOUNDS:
            assert decision == Decision(channel, DeliveryState.DEFERRED, "QUIET_HOURS", MORNING)
        else:
            assert decision == Decision(channel, DeliveryState.DELIVERED)


def test_the_contacts_zone_is_for_who_chose_none() -> None:
    asked = Asked((Channel.PUSH,), Category.SOCIAL)
    for choices in (Choices(quiet_hours=NIGHT), Choices(quiet_hours=NIGHT, time_zone="Asia/Tokyo")):
        (found,) = decide(asked, Person("u1", choices, "America/New_York"), MIDNIGHT)
        # 18:30 in New York, 08:30 in Tokyo.
        assert found.open
        (found,) = decide(asked, Person("u1", choices, "America/New_York"), MIDNIGHT + timedelta(hours=5))
        assert found.open == bool(choices.time_zone)


def test_security_wakes_and_a_critical_lane_does_not() -> None:
    (found,) = decide(
        Asked((Channel.SMS,), Category.SECURITY), Person("u1", Choices(quiet_hours=NIGHT)), MIDNIGHT
    )
    assert found.open


def test_what_expires_in_quiet_hours_waits_no_longer() -> None:
    expire_time = MIDNIGHT + timedelta(hours=1)
    asked = Asked((Channel.PUSH,), Category.SOCIAL, expire_time=expire_time)
    found = by_channel(asked, Choices(quiet_hours=NIGHT))[Channel.PUSH]
    assert (found.state, found.due_time) == (DeliveryState.DEFERRED, expire_time)
    waiting = Waiting(Channel.PUSH, Category.SOCIAL, "", found.reason, expire_time)
    later = again(waiting, Person("u1", Choices(quiet_hours=NIGHT)), expire_time, read=False)
    assert later == Decision(Channel.PUSH, DeliveryState.EXPIRED, "EXPIRED: QUIET_HOURS")


def test_local_time_defers_all_and_quiet_hours_come_after_it() -> None:
    asked = Asked(tuple(ALL), Category.SOCIAL, since=NOW, local_time="23:00")
    found = by_channel(asked, Choices(quiet_hours=NIGHT), NOW)
    shown = NOW.replace(hour=23)
    for channel, decision in found.items():
        want = ("QUIET_HOURS", MORNING) if channel in SOUNDS else ("LOCAL_TIME", shown)
        assert (decision.state, decision.reason, decision.due_time) == (DeliveryState.DEFERRED, *want)


def test_a_local_time_that_has_passed_since_is_now() -> None:
    asked = Asked((Channel.PUSH,), Category.SOCIAL, since=NOW - timedelta(minutes=5), local_time="11:58")
    assert by_channel(asked, Choices(), NOW)[Channel.PUSH].open


EVENING = {"social": {"email": Digest(Rhythm.DAILY, 18 * 60)}}


def test_a_digest_takes_it_and_no_quiet_hours_do() -> None:
    found = by_channel(Asked(tuple(ALL), Category.SOCIAL), Choices(digests=EVENING), NOW)
    due = NOW.replace(hour=18)
    digest = "u1|email|social|2026-11-22T18:00:00Z"
    assert found[Channel.EMAIL] == Decision(Channel.EMAIL, DeliveryState.DEFERRED, "DIGEST", due, digest)
    assert all(one.reason == "" for channel, one in found.items() if channel != Channel.EMAIL)


def test_a_digest_that_falls_into_quiet_hours_comes_after_them() -> None:
    digests = {"social": {"email": Digest(Rhythm.DAILY, 6 * 60)}}
    asked = Asked((Channel.EMAIL,), Category.SOCIAL)
    found = by_channel(asked, Choices(digests=digests, quiet_hours=NIGHT), MIDNIGHT)[Channel.EMAIL]
    assert (found.due_time, found.digest) == (MORNING, "u1|email|social|2026-11-23T07:00:00Z")


def test_security_is_in_no_digest_whatever_is_stored() -> None:
    digests = {"security": {"email": Digest(Rhythm.HOURLY)}}
    assert by_channel(Asked((Channel.EMAIL,), Category.SECURITY), Choices(digests=digests))[
        Channel.EMAIL
    ].open


def test_a_cap_that_is_reached_suppresses() -> None:
    cap = Cap("", "push", 3, Span.DAY)
    for count, reason in ((2, ""), (3, "FREQUENCY_CAP")):
        person = Person("u1", Choices(caps=(cap,)), counts={cap: count})
        found = {one.channel: one.reason for one in decide(Asked(tuple(ALL), Category.SOCIAL), person, NOW)}
        assert found.pop(Channel.PUSH) == reason
        assert set(found.values()) == {""}
        (passing,) = decide(Asked((Channel.PUSH,), Category.SECURITY), person, NOW)
        assert passing.open


def test_an_escalation_waits_and_is_dropped_where_it_was_read() -> None:
    after = timedelta(minutes=10)
    escalations = ((Channel.SMS, after), (Channel.PUSH, after))
    asked = Asked((Channel.PUSH,), Category.SOCIAL, since=NOW, escalations=escalations)
    push, sms = decide(asked, Person("u1"), NOW + timedelta(minutes=1))
    assert push.open
    wanted = Decision(Channel.SMS, DeliveryState.DEFERRED, "ESCALATION", NOW + after, unless_read=True)
    assert sms == wanted
    waiting = Waiting(Channel.SMS, Category.SOCIAL, "", "ESCALATION", unless_read=True)
    assert again(waiting, Person("u1"), NOW, read=False).open
    assert again(waiting, Person("u1"), NOW, read=True).reason == "READ"


def test_when_its_time_has_come_the_person_is_asked_again() -> None:
    waiting = Waiting(Channel.SMS, Category.SOCIAL, "", "ESCALATION", unless_read=True)
    quiet = again(waiting, Person("u1", Choices(quiet_hours=NIGHT)), MIDNIGHT, read=False)
    assert quiet == Decision(Channel.SMS, DeliveryState.DEFERRED, "QUIET_HOURS", MORNING, unless_read=True)
    off = Person("u1", Choices({"social": {"sms": False}}))
    assert again(waiting, off, MIDNIGHT, read=False).reason == "PREFERENCE_OFF"
    shown = Waiting(Channel.IN_APP, Category.SOCIAL, "", "LOCAL_TIME")
    found = again(shown, Person("u1", Choices(quiet_hours=NIGHT)), MIDNIGHT, read=False)
    assert found == Decision(Channel.IN_APP, DeliveryState.DELIVERED)


people = st.builds(
    Person,
    st.just("u1"),
    st.builds(
        Choices,
        quiet_hours=st.lists(ranges(), max_size=4).map(tuple),
        time_zone=st.sampled_from(ZONES),
        digests=st.fixed_dictionaries(
            {"social": st.dictionaries(st.sampled_from(["push", "email"]), digests)}
        ),
    ),
)
asking = st.builds(
    Asked,
    st.just(tuple(ALL)),
    st.sampled_from([Category.SOCIAL, Category.SYSTEM, Category.SECURITY]),
    since=moments,
    local_time=st.sampled_from(["", "00:30", "02:30", "09:00"]),
    escalations=st.just(()),
)


@given(asking, people, moments)
def test_nothing_is_early_nothing_is_lost_and_nobody_is_woken(
    asked: Asked, person: Person, moment: datetime
) -> None:
    made = decide(asked, person, moment)
    assert made == decide(asked, person, moment)
    earliest = moment
    if asked.local_time:
        local = quiet_hours.next_at(
            person.time_zone, quiet_hours.minutes(asked.local_time), asked.since or moment
        )
        earliest = max(moment, local)
    for one in made:
        assert one.state in (DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.DEFERRED)
        goes = one.due_time or moment
        assert goes >= earliest
        if asked.category == Category.SECURITY:
            assert one.reason in ("", "LOCAL_TIME")
        elif one.channel in SOUNDS:
            free = quiet_hours.over(person.choices.quiet_hours, person.time_zone, goes)
            # Whoever has no minute without quiet hours waits for at most a week at a time.
            assert free == goes or goes - earliest >= timedelta(days=8)
