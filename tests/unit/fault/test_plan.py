"""What is left to chance follows from the seed."""

from __future__ import annotations

from tests.fault.load import plan
from tests.fault.people import crowd
from tests.fault.run import schedule

PEOPLE = crowd(10)


def test_the_same_seed_asks_for_the_same() -> None:
    assert plan("kill", 3, 200, PEOPLE) == plan("kill", 3, 200, PEOPLE)


def test_another_seed_asks_for_something_else() -> None:
    one, other = plan("kill", 3, 200, PEOPLE), plan("kill", 4, 200, PEOPLE)
    assert [task.request.users for task in one] != [task.request.users for task in other]


def test_the_same_seed_hits_the_same_at_the_same_time() -> None:
    names = ("email", "push", "sms")
    blows = schedule(5, names, 30, (1.0, 3.0))
    assert blows == schedule(5, names, 30, (1.0, 3.0))
    assert blows != schedule(6, names, 30, (1.0, 3.0))
    assert {blow.name for blow in blows} == set(names)
    assert all(1.0 <= blow.after_s <= 3.0 for blow in blows)
