"""Each promise is broken by hand, and the checker has to see it: one history per way to break one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from crown import ids
from tests.fault.checker import Bounds, Invariant, Verdict, check
from tests.fault.evidence import (
    Calls,
    Counted,
    Effect,
    Evidence,
    Frame,
    Letter,
    Look,
    Most,
    Published,
    Row,
    Span,
    Turn,
)
from tests.fault.history import Answer, Attempt, Request, Sent

_SOURCES = {"push": "fcm", "email": "mailbox", "sms": "twilio"}


@dataclass
class Run:
    """A run, built up by hand."""

    history: list[Sent] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    listening: list[Span] = field(default_factory=lambda: [Span(0.0, 10.0)])
    bounds: Bounds = field(default_factory=lambda: Bounds(ends={"FAILED": 1}))
    # Of the evidence, what else there is.
    given: dict[str, Any] = field(default_factory=dict)

    def ask(self, channel: str, *answers: Answer, user: str = "ann") -> str:
        """A request and what was answered to it; its notification id."""
        key = f"key-{len(self.history)}"
        notification_id = ids.keyed_notification("feed", "SendNotification", key, 0)
        request = Request(key, notification_id, channel, "social", "normal", (user,), key)
        attempts = [Attempt(key, answer, "", 1.0, 2.0) for answer in answers or (Answer.ACCEPTED,)]
        self.history.append(Sent(request, tuple(attempts)))
        return notification_id

    def end(self, notification_id: str, channel: str, state: str, reason: str = "") -> None:
        """The delivery's row and its turn in the timeline."""
        self.rows.append(Row(notification_id, "ann", channel, state, reason))
        if channel in _SOURCES:
            self.turns.append(Turn(_delivery(notification_id, channel), state))

    def reach(self, notification_id: str, channel: str) -> None:
        """An effect at the person's address."""
        delivery_id = _delivery(notification_id, channel)
        self.effects.append(Effect(_SOURCES[channel], notification_id, delivery_id, f"ann-{channel}"))

    def deliver(self, channel: str) -> str:
        """A request that went as it should."""
        notification_id = self.ask(channel)
        if channel in _SOURCES:
            self.end(notification_id, channel, "DELIVERED_TO_PROVIDER")
            self.reach(notification_id, channel)
            return notification_id
        self.end(notification_id, channel, "DELIVERED")
        if channel == "real_time":
            self.published.append(Published("ann", notification_id, 5.0))
            self.frames.append(Frame("ann", notification_id))
        return notification_id

    def verdict(self) -> Verdict:
        evidence = Evidence(
            self.rows,
            self.effects,
            self.frames,
            self.published,
            self.letters,
            self.turns,
            {("ann", channel): frozenset({f"ann-{channel}"}) for channel in _SOURCES},
            {"ann": self.listening},
            **self.given,
        )
        return check(self.history, evidence, self.bounds)


def _delivery(notification_id: str, channel: str) -> str:
    return ids.delivery(notification_id, "ann", channel)


def _good() -> Run:
    run = Run()
    for channel in ("push", "email", "sms", "real_time", "in_app"):
        run.deliver(channel)
    return run


def _broken(run: Run) -> Sequence[Invariant]:
    return sorted({problem.invariant for problem in run.verdict().problems})


def test_a_good_run_has_no_problems() -> None:
    verdict = _good().verdict()
    assert verdict.problems == ()
    assert (verdict.asked, verdict.accepted, verdict.lost, verdict.deliveries) == (5, 5, 0, 5)
    assert verdict.states == {"DELIVERED_TO_PROVIDER": 3, "DELIVERED": 2}


def _accepted_and_nowhere(run: Run) -> None:
    run.ask("in_app")


def _accepted_once_among_failures_and_nowhere(run: Run) -> None:
    run.ask("email", Answer.UNKNOWN, Answer.REFUSED, Answer.ACCEPTED)


@pytest.mark.parametrize("spoil", [_accepted_and_nowhere, _accepted_once_among_failures_and_nowhere])
def test_what_was_accepted_and_is_nowhere_is_lost(spoil: Callable[[Run], None]) -> None:
    run = _good()
    spoil(run)
    assert _broken(run) == [Invariant.LOST]
    assert run.verdict().lost == 1


def _not_final(run: Run) -> None:
    run.end(run.ask("email"), "email", "RETRYING", "421")


def _unknown_reason(run: Run) -> None:
    run.end(run.ask("push"), "push", "SUPPRESSED", "BECAUSE")


def _suppressed_without_a_reason(run: Run) -> None:
    run.end(run.ask("push"), "push", "SUPPRESSED")


def _failed_without_a_reason(run: Run) -> None:
    notification_id = run.ask("push")
    run.end(notification_id, "push", "FAILED")
    run.letters.append(Letter(_delivery(notification_id, "push"), "PROVIDER_TERMINAL", "404"))


def _two_ends(run: Run) -> None:
    notification_id = run.deliver("email")
    run.turns.append(Turn(_delivery(notification_id, "email"), "EXPIRED"))


def _two_rows(run: Run) -> None:
    run.deliver("in_app")
    run.rows.append(run.rows[-1])


def _no_turn(run: Run) -> None:
    run.deliver("sms")
    run.turns.pop()


def _unknown_beyond_the_bound(run: Run) -> None:
    notification_id = run.ask("sms")
    run.end(notification_id, "sms", "UNKNOWN", "OUTCOME_UNKNOWN: TIMEOUT")
    run.letters.append(Letter(_delivery(notification_id, "sms"), "OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN: x"))


def _failed_beyond_the_bound(run: Run) -> None:
    for _ in range(2):
        notification_id = run.ask("push")
        run.end(notification_id, "push", "FAILED", "UNREGISTERED: 404")
        run.letters.append(Letter(_delivery(notification_id, "push"), "PROVIDER_TERMINAL", "404"))


@pytest.mark.parametrize(
    "spoil",
    [
        _not_final,
        _unknown_reason,
        _suppressed_without_a_reason,
        _failed_without_a_reason,
        _two_ends,
        _two_rows,
        _no_turn,
        _unknown_beyond_the_bound,
        _failed_beyond_the_bound,
    ],
)
def test_there_is_one_final_state_with_a_reason(spoil: Callable[[Run], None]) -> None:
    run = _good()
    spoil(run)
    assert _broken(run) == [Invariant.TERMINAL]


def test_the_providers_later_word_is_no_second_end() -> None:
    run = _good()
    notification_id = run.ask("email")
    run.reach(notification_id, "email")
    run.rows.append(Row(notification_id, "ann", "email", "BOUNCED"))
    delivery_id = _delivery(notification_id, "email")
    run.turns += [Turn(delivery_id, "RETRYING"), Turn(delivery_id, "DELIVERED_TO_PROVIDER")]
    assert run.verdict().problems == ()


def test_an_effect_too_many_is_a_duplicate() -> None:
    run = _good()
    run.reach(run.deliver("email"), "email")
    assert _broken(run) == [Invariant.DUPLICATES]
    assert run.verdict().repeats == {"email": 1}


def test_a_duplicate_is_one_wherever_the_two_were_sent_from() -> None:
    run = _good()
    run.reach(run.deliver("email"), "email")
    run.effects[-1] = replace(run.effects[-1], source="sendgrid")
    assert _broken(run) == [Invariant.DUPLICATES]


def test_duplicates_are_bounded_for_each_channel() -> None:
    run = _good()
    for channel in ("email", "email", "push"):
        run.reach(run.deliver(channel), channel)
    run.bounds = Bounds({"email": 2, "push": 1})
    assert run.verdict().problems == ()
    run.bounds = Bounds({"email": 1, "push": 1})
    assert _broken(run) == [Invariant.DUPLICATES]


def test_two_addresses_of_one_person_are_no_duplicate() -> None:
    run = _good()
    notification_id = run.deliver("push")
    run.effects.append(replace(run.effects[-1], recipient="ann-tablet"))
    assert run.verdict().repeats == {}
    assert notification_id in {effect.notification_id for effect in run.effects}


def _row_that_nobody_asked_for(run: Run) -> None:
    run.end(ids.fresh_notification(), "in_app", "DELIVERED")


def _row_of_a_refused_one(run: Run) -> None:
    run.end(run.ask("in_app", Answer.REFUSED, Answer.REFUSED), "in_app", "DELIVERED")


def _effect_that_nobody_asked_for(run: Run) -> None:
    run.reach(ids.fresh_notification(), "sms")


def _effect_without_our_ids(run: Run) -> None:
    run.effects.append(Effect("twilio", "", "", "ann-sms"))


def _effect_of_a_refused_one(run: Run) -> None:
    run.reach(run.ask("sms", Answer.REFUSED), "sms")


def _effect_at_a_strangers_address(run: Run) -> None:
    run.effects.append(replace(run.effects[0], recipient="bob-push"))


def _effect_from_a_wrong_provider(run: Run) -> None:
    run.effects[0] = replace(run.effects[0], source="twilio")


def _effect_of_a_suppressed_one(run: Run) -> None:
    notification_id = run.ask("push")
    run.end(notification_id, "push", "SUPPRESSED", "PREFERENCE_OFF")
    run.reach(notification_id, "push")


def _frame_that_nobody_asked_for(run: Run) -> None:
    run.frames.append(Frame("ann", ids.fresh_notification()))


def _frame_at_a_stranger(run: Run) -> None:
    run.frames.append(Frame("bob", run.deliver("real_time")))


@pytest.mark.parametrize(
    "spoil",
    [
        _row_that_nobody_asked_for,
        _row_of_a_refused_one,
        _effect_that_nobody_asked_for,
        _effect_without_our_ids,
        _effect_of_a_refused_one,
        _effect_at_a_strangers_address,
        _effect_from_a_wrong_provider,
        _effect_of_a_suppressed_one,
        _frame_that_nobody_asked_for,
        _frame_at_a_stranger,
    ],
)
def test_every_effect_was_asked_for(spoil: Callable[[Run], None]) -> None:
    run = _good()
    spoil(run)
    assert _broken(run) == [Invariant.PHANTOMS]


def test_an_unknown_answer_may_have_an_effect_or_none() -> None:
    run = _good()
    run.ask("email", Answer.UNKNOWN)
    notification_id = run.ask("email", Answer.REFUSED, Answer.UNKNOWN)
    run.end(notification_id, "email", "DELIVERED_TO_PROVIDER")
    run.reach(notification_id, "email")
    assert run.verdict().problems == ()
    run.reach(notification_id, "email")
    assert _broken(run) == [Invariant.DUPLICATES]


def _failed_without_a_letter(run: Run) -> None:
    run.end(run.ask("push"), "push", "FAILED", "UNREGISTERED: 404")


def _unknown_without_a_letter(run: Run) -> None:
    run.end(run.ask("sms"), "sms", "UNKNOWN", "OUTCOME_UNKNOWN: WORKER_GONE")
    run.bounds = Bounds(ends={"UNKNOWN": 1})


def _letter_with_another_reason(run: Run) -> None:
    notification_id = run.ask("push")
    run.end(notification_id, "push", "FAILED", "UNREGISTERED: 404")
    run.letters.append(Letter(_delivery(notification_id, "push"), "OUTCOME_UNKNOWN", "404"))


def _letter_without_an_error(run: Run) -> None:
    notification_id = run.ask("push")
    run.end(notification_id, "push", "FAILED", "UNREGISTERED: 404")
    run.letters.append(Letter(_delivery(notification_id, "push"), "PROVIDER_TERMINAL", ""))


def _letter_of_what_was_delivered(run: Run) -> None:
    run.letters.append(Letter(_delivery(run.deliver("email"), "email"), "RETRIES_EXHAUSTED", "421"))


def _letter_of_nothing(run: Run) -> None:
    run.letters.append(Letter("0" * 32, "RETRIES_EXHAUSTED", "421"))


@pytest.mark.parametrize(
    "spoil",
    [
        _failed_without_a_letter,
        _unknown_without_a_letter,
        _letter_with_another_reason,
        _letter_without_an_error,
        _letter_of_what_was_delivered,
        _letter_of_nothing,
    ],
)
def test_what_failed_and_nothing_else_stands_in_the_dead_letters(spoil: Callable[[Run], None]) -> None:
    run = _good()
    spoil(run)
    assert _broken(run) == [Invariant.DEAD_LETTERS]


def _never_at_the_provider(run: Run) -> None:
    run.end(run.ask("sms"), "sms", "DELIVERED_TO_PROVIDER")


def _never_published(run: Run) -> None:
    run.end(run.ask("real_time"), "real_time", "DELIVERED")


def _no_frame_at_an_open_socket(run: Run) -> None:
    run.deliver("real_time")
    run.frames.pop()


def _suppressed_though_there_is_an_address(run: Run) -> None:
    run.end(run.ask("sms"), "sms", "SUPPRESSED", "NO_ADDRESS")


def _sent_to_one_without_an_address(run: Run) -> None:
    run.rows.append(Row(run.ask("push", user="bob"), "bob", "push", "DELIVERED_TO_PROVIDER"))
    run.turns.append(Turn(ids.delivery(run.rows[-1].notification_id, "bob", "push"), "DELIVERED_TO_PROVIDER"))


@pytest.mark.parametrize(
    "spoil",
    [
        _never_at_the_provider,
        _never_published,
        _no_frame_at_an_open_socket,
        _suppressed_though_there_is_an_address,
        _sent_to_one_without_an_address,
    ],
)
def test_what_is_delivered_was_seen(spoil: Callable[[Run], None]) -> None:
    run = _good()
    spoil(run)
    assert _broken(run) == [Invariant.SEEN]


def test_a_socket_may_miss_frames_while_it_is_away_or_was_told_so() -> None:
    run = _good()
    run.listening = [Span(0.0, 6.0), Span(8.0, 10.0)]
    for moment in (7.0, 20.0):
        notification_id = run.ask("real_time")
        run.end(notification_id, "real_time", "DELIVERED")
        run.published.append(Published("ann", notification_id, moment))
    verdict = run.verdict()
    assert verdict.problems == ()
    assert verdict.missed_frames == 2


def test_what_the_stream_forgot_may_have_reached_the_socket() -> None:
    run = _good()
    run.deliver("real_time")
    run.published.pop()
    assert run.verdict().problems == ()


def test_a_frame_may_come_twice() -> None:
    run = _good()
    run.frames.append(run.frames[-1])
    assert run.verdict().problems == ()


def _looks(*bad: float, unwell: str = "", until: float = 100.0) -> list[Look]:
    """One a second; at `bad` not ready, or with somebody unwell."""
    gone = frozenset({unwell} if unwell else ())
    return [
        Look(float(at), at not in bad or bool(unwell), gone if at in bad else frozenset())
        for at in range(int(until))
    ]


def test_what_is_counted_is_what_was_accepted_and_delivered() -> None:
    run = _good()
    delivered = {"push": 1, "email": 1, "sms": 1}
    run.given = {"counted": Counted(5, delivered, {})}
    assert run.verdict().problems == ()


@pytest.mark.parametrize(
    "counted",
    [
        Counted(4),
        Counted(6),
        Counted(5, {"push": 2}),
        Counted(5, {"push": 0}),
        Counted(5, {"push": 0}, {"email": 1}),
    ],
    ids=["accepted too few", "accepted too many", "delivered too many", "too few", "unclear elsewhere"],
)
def test_metrics_that_are_not_the_ledgers(counted: Counted) -> None:
    run = _good()
    run.given = {"counted": counted}
    assert _broken(run) == [Invariant.METRICS]


def test_what_may_have_been_counted_twice_or_of_which_nobody_knows_is_no_difference() -> None:
    run = Run()
    notification_id = run.ask("push", Answer.UNKNOWN, Answer.ACCEPTED)
    run.end(notification_id, "push", "DELIVERED_TO_PROVIDER")
    run.reach(notification_id, "push")
    for counted in (Counted(1, {"push": 0}, {"push": 1}), Counted(2, {"push": 1}, {})):
        run.given = {"counted": counted}
        assert run.verdict().problems == ()


def test_health_that_says_nothing_while_something_is_away() -> None:
    run = _good()
    run.bounds = Bounds(fault=Span(20.0, 60.0), told=True)
    run.given = {"looks": _looks()}
    assert _broken(run) == [Invariant.HEALTH]
    run.given = {"looks": _looks(40)}
    assert run.verdict().problems == ()
    run.given = {"looks": _looks(40, unwell="sms")}
    assert run.verdict().problems == ()


def test_health_need_not_know_of_what_is_over_at_once() -> None:
    run = _good()
    run.bounds = Bounds(fault=Span(20.0, 25.0), told=True)
    run.given = {"looks": _looks()}
    assert run.verdict().problems == ()


@pytest.mark.parametrize("since", [5, 80], ids=["before", "long after"])
def test_health_that_complains_of_nothing(since: int) -> None:
    run = _good()
    run.bounds = Bounds(fault=Span(20.0, 60.0))
    run.given = {"looks": _looks(40, *range(since, since + 7))}
    assert _broken(run) == [Invariant.HEALTH]
    run.given = {"looks": _looks(40, *range(since, since + 3), *range(since + 4, since + 8))}
    assert run.verdict().problems == ()


def test_nobody_else_is_started_again() -> None:
    run = _good()
    run.bounds = Bounds(restarts=("sms",))
    run.given = {"restarts": {"sms": 1}}
    assert run.verdict().problems == ()
    run.given = {"restarts": {"sms": 1, "email": 3}}
    assert _broken(run) == [Invariant.HEALTH]


@pytest.mark.parametrize(
    "given",
    [
        {"most": {"sms": Most(700.0, 50)}},
        {"most": {"sms": Most(100.0, 5_000)}},
        {"log_bytes": 100 << 20},
        {"calls": {"sms": Calls(1.6, 9)}},
    ],
    ids=["memory", "descriptors", "logs", "calls"],
)
def test_what_has_no_bound(given: dict[str, Any]) -> None:
    run = _good()
    run.bounds = Bounds(calls={"sms": 1.5})
    run.given = {"most": {"sms": Most(100.0, 50)}, "log_bytes": 10_000, "calls": {"sms": Calls(1.4, 9)}}
    assert run.verdict().problems == ()
    run.given |= given
    assert _broken(run) == [Invariant.BOUNDED]


def _handed_over(run: Run, channel: str, began: float, took_s: float, count: int = 20) -> None:
    for _ in range(count):
        notification_id = run.deliver(channel)
        request = run.history[-1].request
        run.history[-1] = Sent(request, (Attempt(request.key, Answer.ACCEPTED, "", began, began + 0.01),))
        run.effects[-1] = replace(run.effects[-1], time=began + took_s)
        assert run.effects[-1].notification_id == notification_id


def test_a_channel_that_feels_what_is_not_for_it() -> None:
    run = Run(bounds=Bounds(fault=Span(20.0, 60.0), unfelt=("email",)))
    _handed_over(run, "email", 10.0, 0.1)
    _handed_over(run, "sms", 30.0, 9.0)
    _handed_over(run, "email", 30.0, 0.2)
    assert run.verdict().problems == ()
    _handed_over(run, "email", 40.0, 3.0, count=1)
    assert _broken(run) == [Invariant.ISOLATION]


def test_of_a_few_deliveries_the_slowest_says_nothing() -> None:
    run = Run(bounds=Bounds(fault=Span(20.0, 60.0), unfelt=("email",)))
    _handed_over(run, "email", 10.0, 0.1, count=5)
    _handed_over(run, "email", 30.0, 9.0)
    assert run.verdict().problems == ()


def test_frames_that_come_in_another_order() -> None:
    run = _good()
    for offset, epoch in ((7, "a"), (9, "a"), (9, "a"), (2, "b")):
        notification_id = run.deliver("real_time")
        run.frames[-1] = Frame("ann", notification_id, offset, epoch)
    assert run.verdict().problems == ()
    notification_id = run.deliver("real_time")
    run.frames[-1] = Frame("ann", notification_id, 8, "a")
    assert _broken(run) == [Invariant.ORDER]
