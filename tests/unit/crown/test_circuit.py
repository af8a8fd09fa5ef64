"""When a provider is out, how it is probed, and how it comes back."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crown.circuit import Call, Circuit, Limits, State

LIMITS = Limits()


class Even(random.Random):
    """No chance: what is drawn lies in the middle."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def circuit(**given: object) -> Circuit:
    return Circuit(replace(LIMITS, **given), Even())  # type: ignore[arg-type]


def call(found: Circuit, now: float, *, ok: bool, took_s: float = 0.0) -> None:
    begun = found.begin(now)
    assert begun is not None
    (found.succeeded if ok else found.failed)(begun, now + took_s)


def opened(now: float = 100.0) -> Circuit:
    found = circuit()
    for _ in range(LIMITS.calls_least):
        call(found, now, ok=False)
    assert found.state() is State.OPEN
    return found


def test_a_few_failures_are_nothing() -> None:
    found = circuit()
    for _ in range(LIMITS.calls_least - 1):
        call(found, 100, ok=False)
    assert (found.state(), found.share(100), found.wait_s(100)) == (State.CLOSED, 1.0, 0.0)


@pytest.mark.parametrize(("failures", "opens"), [(10, False), (11, True)])
def test_more_than_half_is_too_many(failures: int, opens: bool) -> None:
    found = circuit(calls_least=20)
    for number in range(20):
        call(found, 100, ok=number >= failures)
    assert (found.state() is State.OPEN) == opens


def test_what_was_long_ago_is_forgotten() -> None:
    found = circuit()
    for _ in range(9):
        call(found, 100, ok=False)
    call(found, 112, ok=False)
    assert found.state() is State.CLOSED


@pytest.mark.parametrize(("slow", "opens"), [(8, False), (9, True)])
def test_slow_is_bad_too(slow: int, opens: bool) -> None:
    found = circuit()
    for number in range(10):
        call(found, 100, ok=True, took_s=6 if number < slow else 1)
    assert (found.state() is State.OPEN) == opens


def test_where_slowness_does_not_count_it_does_not() -> None:
    found = circuit(slow_s=math.inf)
    for _ in range(20):
        call(found, 100, ok=True, took_s=9)
    assert found.state() is State.CLOSED


def test_while_it_is_out_nothing_begins() -> None:
    found = opened(100)
    assert (found.begin(104.9), found.share(104.9)) == (None, 0.0)
    assert found.wait_s(102) == pytest.approx(3)


def test_there_is_one_probe_at_a_time() -> None:
    found = opened(100)
    probe = found.begin(105)
    assert probe is not None
    assert probe.probe
    assert [found.begin(105 + n) for n in range(20)] == [None] * 20
    assert (found.state(), found.wait_s(110), found.share(110)) == (State.PROBING, math.inf, 0.0)


def test_each_probe_that_fails_doubles_the_wait() -> None:
    found, now, waits = opened(0), 0.0, []
    for _ in range(6):
        waits.append(found.wait_s(now))
        now += waits[-1]
        call(found, now, ok=False)
    assert waits == pytest.approx([5, 10, 20, 40, 60, 60])


def test_a_probe_that_was_not_made_is_made_by_the_next() -> None:
    found = opened(100)
    probe = found.begin(105)
    assert probe is not None
    found.forget(probe)
    assert found.wait_s(105) == 0
    assert found.begin(105) is not None


def test_a_slow_probe_is_none_that_convinces() -> None:
    found = opened(100)
    call(found, 105, ok=True, took_s=6)
    assert found.state() is State.OPEN


def test_its_share_comes_back_in_steps() -> None:
    found = opened(100)
    call(found, 105, ok=True)
    shares = [found.share(now) for now in (105, 109.9, 110, 115, 119.9, 120, 200)]
    assert shares == [0.1, 0.1, 0.25, 0.5, 0.5, 1.0, 1.0]


def test_one_that_fails_again_on_its_way_back_waits_longer() -> None:
    found = opened(100)
    call(found, 105, ok=True)
    for _ in range(10):
        call(found, 106, ok=False)
    assert found.wait_s(106) == pytest.approx(5)
    call(found, 111, ok=False)
    assert found.wait_s(111) == pytest.approx(10)
    call(found, 121, ok=True)
    # All the way back, so that the next time is the first again.
    for _ in range(10):
        call(found, 200, ok=False)
    assert found.wait_s(200) == pytest.approx(5)


def test_calls_of_before_say_nothing_about_after() -> None:
    """A hundred calls hang when it is found to be out. Their ends, seconds later, are no news."""
    found = circuit()
    late = [found.begin(95) for _ in range(100)]
    for _ in range(10):
        call(found, 100, ok=False)
    call(found, 105, ok=True)
    for begun in late:
        assert begun is not None
        found.failed(begun, 106)
    assert found.state() is State.CLOSED
    again = opened(100)
    stale = Call(90, False, 0)
    again.succeeded(stale, 101)
    assert again.state() is State.OPEN


def test_one_that_asks_to_be_left_alone_is_and_comes_back_in_steps() -> None:
    found = circuit()
    begun = found.begin(100)
    assert begun is not None
    found.hold(begun, 100, 30)
    assert (found.state(), found.share(100), found.begin(129)) == (State.CLOSED, 0.0, None)
    assert found.wait_s(120) == 10
    assert [found.share(now) for now in (130, 135, 140, 145)] == [0.1, 0.25, 0.5, 1.0]


def test_the_longest_wish_counts() -> None:
    found = circuit()
    calls = [found.begin(100) for _ in range(3)]
    for begun, wait_s in zip(calls, (30, 60, 5), strict=True):
        assert begun is not None
        found.hold(begun, 100, wait_s)
    assert found.wait_s(100) == 60


def test_a_probe_that_is_asked_to_wait_has_found_somebody_there() -> None:
    found = opened(100)
    probe = found.begin(105)
    assert probe is not None
    found.hold(probe, 105, 20)
    assert (found.state(), found.wait_s(105), found.share(125)) == (State.CLOSED, 20, 0.1)


class Life(RuleBasedStateMachine):
    """Any sequence of calls, ends and pauses."""

    @initialize(seed=st.integers(0, 100))
    def begin_life(self, seed: int) -> None:
        self.circuit = Circuit(LIMITS, random.Random(seed))
        self.now = 1_000.0
        self.calls: list[Call] = []

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0, 90.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 15))
    def begin(self, count: int) -> None:
        for _ in range(count):
            may = self.circuit.wait_s(self.now) == 0
            begun = self.circuit.begin(self.now)
            assert (begun is not None) == may
            if begun is not None:
                self.calls.append(begun)

    @precondition(lambda self: self.calls)
    @rule(
        which=st.integers(0, 100),
        count=st.integers(1, 15),
        how=st.sampled_from(["ok", "bad", "none", "hold"]),
    )
    def end(self, which: int, count: int, how: str) -> None:
        for _ in range(min(count, len(self.calls))):
            begun = self.calls.pop(which % len(self.calls))
            match how:
                case "ok":
                    self.circuit.succeeded(begun, self.now)
                case "bad":
                    self.circuit.failed(begun, self.now)
                case "none":
                    self.circuit.forget(begun)
                case _:
                    self.circuit.hold(begun, self.now, 7.0)

    @invariant()
    def one_probe_at_a_time(self) -> None:
        assert sum(begun.probe for begun in self.calls) <= 1

    @invariant()
    def it_gets_something_only_when_it_is_in(self) -> None:
        share = self.circuit.share(self.now)
        assert 0 <= share <= 1
        assert share == 0 or self.circuit.state() is State.CLOSED

    @invariant()
    def the_wait_is_bounded(self) -> None:
        wait_s = self.circuit.wait_s(self.now)
        assert wait_s <= LIMITS.open_most_s * 1.25 or self.circuit.state() is State.PROBING

    def teardown(self) -> None:
        """Whatever came before: a provider that works is back within minutes."""
        for begun in self.calls:
            self.circuit.forget(begun)
        for _ in range(300):
            self.now += 1
            if (probe := self.circuit.begin(self.now)) is not None:
                self.circuit.succeeded(probe, self.now)
        assert (self.circuit.state(), self.circuit.share(self.now)) == (State.CLOSED, 1.0)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
