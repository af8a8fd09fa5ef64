"""Which provider makes an attempt, and what each answer makes of it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from crown import metrics
from crown import route as module
from crown.circuit import Limits, State
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.rates import Granted
from crown.recipients import Destination
from crown.route import ERRORS_MOST, Route, Turn

CREATED = datetime(2026, 11, 25, tzinfo=UTC)
ATTEMPT = Attempt(
    "d",
    "n",
    "u",
    1,
    "",
    Category.SOCIAL,
    NotificationData(),
    (Destination("p", "+12025550199"),),
    CREATED,
    None,
)


class Told:
    """A provider that answers what it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcome: Outcome | Exception = Delivered("m")
        self.hangs = False
        self.count = 0
        self.closed = False

    async def send(self, attempt: Attempt) -> Outcome:
        self.count += 1
        if self.hangs:
            await asyncio.Event().wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        if self.hangs:
            await asyncio.Event().wait()
        return Delivered(self.name)

    async def close(self) -> None:
        self.closed = True


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Slots:
    """Rates of which the test says how much is left."""

    def __init__(self, **left: int) -> None:
        self.left = left
        self.asked: list[tuple[str, int]] = []

    def limits(self, name: str) -> bool:
        return name in self.left

    async def take(self, name: str, most: int, _now: float) -> Granted:
        self.asked.append((name, most))
        count = min(most, self.left[name])
        self.left[name] -= count
        return Granted(count, 0.5)


Make = Callable[..., Route]


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def first() -> Told:
    return Told("first")


@pytest.fixture
def second() -> Told:
    return Told("second")


@pytest.fixture
def make(clock: Time, first: Told, second: Told) -> Make:
    def made(*providers: Told, **given: Any) -> Route:
        return Route(providers or (first, second), clock=clock, chance=random.Random(3), **given)

    return made


async def sends(route: Route, count: int = 1, last: str = "", **given: Any) -> Counter[str]:
    """Makes so many attempts one after the other; answers by whom."""
    found: Counter[str] = Counter()
    for _ in range(count):
        await route.room(1)
        turn = route.choose(last, **given)
        if turn is not None:
            found[turn.provider.name] += 1
            await turn.send(ATTEMPT)
    return found


def take(route: Route, **given: Any) -> Turn:
    turn = route.choose(**given)
    assert turn is not None
    return turn


# -- by preference and weight


async def test_the_first_has_all(make: Make) -> None:
    assert await sends(make(), 50) == {"first": 50}


async def test_weights_share_it(make: Make) -> None:
    found = await sends(make(shares={"first": 3, "second": 1}), 400)
    assert 260 < found["first"] < 340


async def test_a_retry_goes_to_another_one(make: Make) -> None:
    route = make()
    assert await sends(route, last="first") == {"second": 1}
    assert await sends(route, last="second") == {"first": 1}
    assert await sends(route, last="gone") == {"first": 1}


async def test_where_there_is_only_one_a_retry_goes_there(make: Make, first: Told) -> None:
    assert await sends(make(first), last="first") == {"first": 1}


async def test_what_was_tried_is_not_tried_again(make: Make) -> None:
    route = make()
    assert await sends(route, tried=["first"]) == {"second": 1}
    assert route.choose(tried=["first", "second"]) is None


# -- who is out


async def test_one_that_fails_is_left_for_another(make: Make, first: Told, second: Told) -> None:
    route, first.outcome = make(), Unknown("TIMEOUT")
    await sends(route, 30)
    assert (first.count, second.count) == (10, 20)
    assert not route.out()


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        (Delivered("m"), False),
        (Discard("INVALID_NUMBER", "21211"), False),
        (Retry("503"), True),
        (Unknown("TIMEOUT"), True),
        (KeyError("bug"), True),
        (Snooze("BUSY", alone=True), False),
    ],
    ids=str,
)
async def test_what_counts_as_a_failure(
    make: Make, first: Told, outcome: Outcome | Exception, failure: bool
) -> None:
    route, first.outcome = make(first), outcome
    await sends(route, 10)
    assert route.out() == failure
    assert (route.choose() is None) == failure


async def test_one_that_asks_us_to_wait_gets_nothing_until_then(
    make: Make, first: Told, second: Told, clock: Time
) -> None:
    route, first.outcome = make(), Snooze("429", 30.0)
    assert await sends(route, 5) == {"first": 1, "second": 4}
    clock.now += 29.9
    assert await sends(route) == {"second": 1}
    clock.now += 0.1
    first.outcome = Delivered("m")
    assert (await sends(route, 400))["first"] > 10


@pytest.mark.parametrize(
    ("asked_s", "wait_s"), [(None, 1), (0.0, 1), (-5.0, 1), (30.0, 30), (86_400.0, 3_600)]
)
async def test_how_long_it_gets_nothing(
    make: Make, first: Told, asked_s: float | None, wait_s: float
) -> None:
    route, first.outcome = make(first), Snooze("429", asked_s)
    await sends(route)
    assert route.out()
    assert route.wait_s() == wait_s
    assert await route.room(5) == 0


async def test_while_all_are_out_nothing_begins_but_one_probe_each(
    make: Make, first: Told, second: Told, clock: Time
) -> None:
    route = make()
    first.outcome = second.outcome = Retry("503")
    await sends(route, 100)
    assert (first.count, second.count) == (10, 10)
    assert route.out()
    assert await route.room(50) == 0
    assert 3 < route.wait_s() < 7
    clock.now += 7
    assert await route.room(50) == 2
    probes = [route.choose() for _ in range(20)]
    assert sum(probe is not None for probe in probes) == 2
    assert await route.room(50) == 0
    assert route.wait_s() == 0.25
    for probe in probes:
        if probe is not None:
            await probe.send(ATTEMPT)
    assert (first.count, second.count) == (11, 11)
    assert route.out()
    assert route.wait_s() > 7


async def test_it_comes_back_in_steps_and_the_other_takes_the_rest(
    make: Make, first: Told, second: Told, clock: Time
) -> None:
    route, first.outcome = make(), Retry("503")
    await sends(route, 10)
    first.outcome = Delivered("m")
    clock.now += 7
    assert await sends(route) == {"first": 1}
    shares = []
    for _ in range(4):
        shares.append((await sends(route, 400))["first"] / 400)
        clock.now += 5
    assert shares == pytest.approx([0.1, 0.25, 0.5, 1.0], abs=0.08)
    assert shares[-1] == 1


async def test_one_alone_that_comes_back_is_not_run_over(make: Make, first: Told, clock: Time) -> None:
    route, first.outcome = make(first, most=100), Retry("503")
    await sends(route, 10)
    first.outcome = Delivered("m")
    clock.now += 7
    await sends(route)
    rooms = []
    for _ in range(4):
        rooms.append(await route.room(100))
        clock.now += 5
    assert rooms == [10, 25, 50, 100]


async def test_those_under_way_count(make: Make, first: Told, clock: Time) -> None:
    route, first.outcome = make(first, most=100), Retry("503")
    await sends(route, 10)
    first.outcome = Delivered("m")
    clock.now += 7
    await sends(route)
    turns = [take(route) for _ in range(10)]
    assert (route.choose(), await route.room(100), route.wait_s()) == (None, 0, 0.25)
    turns[0].release()
    assert await route.room(100) == 1


async def test_those_that_have_not_chosen_yet_count_too(make: Make, first: Told, clock: Time) -> None:
    """Else one turn after the other would begin more, and give them all back."""
    route, first.outcome = make(first, most=100), Retry("503")
    assert await route.room(100, 1_000) == 100
    await sends(route, 10)
    clock.now += 7
    assert (await route.room(9, 0), await route.room(9, 1)) == (1, 0)
    first.outcome = Delivered("m")
    await sends(route)
    assert (await route.room(100, 0), await route.room(100, 4), await route.room(100, 12)) == (10, 6, 0)
    limited = make(first, rates=Slots(first=5))
    assert (await limited.room(9, 0), await limited.room(9, 2), await limited.room(9, 5)) == (5, 3, 0)


async def test_who_waits_for_an_answer_does_not_probe(make: Make, first: Told, clock: Time) -> None:
    route, first.outcome = make(), Retry("503")
    await sends(route, 10)
    clock.now += 7
    assert await sends(route, careful=True) == {"second": 1}
    assert first.count == 10


async def test_a_probe_that_is_given_back_is_made_by_the_next(make: Make, first: Told, clock: Time) -> None:
    route, first.outcome = make(first), Retry("503")
    await sends(route, 10)
    clock.now += 7
    take(route).release()
    assert await sends(route) == {"first": 1}


async def test_slowness_is_no_reason_where_there_is_no_other(
    make: Make, first: Told, second: Told, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_attempt: Attempt) -> Outcome:
        clock.now += 0.9
        return Delivered("m")

    monkeypatch.setattr(first, "send", slow)
    limits = Limits(slow_s=0.5, window_s=math.inf)
    for providers, out in (((first,), False), ((first, second), True)):
        route = make(*providers, limits=limits)
        for _ in range(12):
            await sends(route)
        assert (route._members[0].circuit.state() is State.OPEN) == out


# -- time limits


async def test_an_address_in_an_answer_goes_no_further(make: Make, first: Told) -> None:
    first.outcome = Retry("nobody at +12025550199")
    assert await take(make(first)).send(ATTEMPT) == Retry("OTHER")


async def test_an_answer_that_came_while_the_process_was_stopped_counts(
    make: Make, first: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MARGIN_S", 0.0)
    route, loop, answer = make(first, timeout_s=0.2), asyncio.get_running_loop(), asyncio.Event()

    async def send(_attempt: Attempt) -> Outcome:
        loop.call_later(0.05, time.sleep, 0.4)
        loop.call_later(0.1, answer.set)
        await answer.wait()
        return Delivered("m")

    monkeypatch.setattr(first, "send", send)
    assert await take(route).send(ATTEMPT) == Delivered("m")


async def test_a_call_that_hangs_ends(make: Make, first: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MARGIN_S", 0.0)
    route, first.hangs = make(first, timeout_s=0.02), True
    assert await take(route).send(ATTEMPT) == Unknown("TIMEOUT")
    assert await route.find("first", ATTEMPT, CREATED) is None


async def test_a_call_that_is_broken_off_teaches_nothing(make: Make, first: Told) -> None:
    route, first.hangs = make(first), True
    for _ in range(12):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await take(route).send(ATTEMPT)
    assert not route.out()
    assert route._members[0].calls == 0


# -- rates


async def test_no_more_begin_than_the_rate_allows(make: Make, first: Told) -> None:
    slots = Slots(first=5)
    route = make(first, rates=slots)
    assert await route.room(20) == 5
    turns = [route.choose() for _ in range(20)]
    assert sum(turn is not None for turn in turns) == 5
    assert await route.room(20) == 0
    assert route.wait_s() == 0.5
    assert not route.out()


async def test_what_is_given_back_can_be_used(make: Make, first: Told) -> None:
    route = make(first, rates=Slots(first=1))
    await route.room(1)
    take(route).release()
    assert await sends(route) == {"first": 1}


async def test_it_is_asked_for_once_a_turn_and_not_before_there_is_more(
    make: Make, first: Told, clock: Time
) -> None:
    slots = Slots(first=3)
    route = make(first, rates=slots)
    for _ in range(5):
        await route.room(2)
    assert slots.asked == [("first", 2)]
    take(route).release()
    await route.room(5)
    assert slots.asked == [("first", 2)]
    clock.now += 0.5
    await route.room(5)
    assert slots.asked == [("first", 2), ("first", 3)]


async def test_what_is_not_used_within_a_second_is_gone(make: Make, first: Told, clock: Time) -> None:
    route = make(first, rates=Slots(first=2))
    assert await route.room(2) == 2
    clock.now += 1
    assert route.choose() is None


async def test_one_that_may_not_now_does_not_hold_up_the_others(make: Make) -> None:
    route = make(shares={"first": 9, "second": 1}, rates=Slots(first=2))
    assert await route.room(20) == 20
    assert await sends(route, 20) == {"first": 2, "second": 18}


async def test_a_rate_is_no_reason_to_ask_a_stand_in(make: Make) -> None:
    route = make(rates=Slots(first=2))
    assert await route.room(20) == 2
    assert await sends(route, 20) == {"first": 2}


# -- the rest


async def test_each_is_asked_about_what_it_did(make: Make, first: Told, second: Told) -> None:
    route = make()
    assert await route.find("second", ATTEMPT, CREATED) == Delivered("second")
    assert await route.find("", ATTEMPT, CREATED) == Delivered("first")
    assert await route.find("gone", ATTEMPT, CREATED) is None
    assert route.names == ["first", "second"]
    await route.close()
    assert first.closed
    assert second.closed


# -- why attempts fail


async def test_why_attempts_fail_is_counted_and_bounded(make: Make, first: Told) -> None:
    def counted(word: str) -> float:
        return float(metrics.ATTEMPT_ERRORS.labels("of this test", "first", word)._value.get())

    route = make(channel="of this test")
    for number in range(ERRORS_MOST + 5):
        first.outcome = Retry(f"ERROR{number}: of +12025550100", alone=True)
        await sends(route)
    first.outcome = Retry("ERROR0", alone=True)
    await sends(route)
    assert (counted("ERROR0"), counted(f"ERROR{ERRORS_MOST - 1}"), counted("OTHER")) == (2, 1, 5)
    first.outcome = Delivered("m")
    await sends(route)
    assert counted("OTHER") == 5
