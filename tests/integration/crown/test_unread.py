"""Counting on a real store: exact, bounded, many at once, and from the index alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crown import unread as module
from crown.clock import now
from crown.unread import Unread
from tests.integration.local import Local


async def write(local: Local, person: str, count: int, **given: Any) -> None:
    """Rows of a person that only have what counting looks at."""
    rows = [
        {"_id": f"{number:036}/{person}", "user_id": person, "create_time": now(), **given}
        for number in range(count)
    ]
    await local.db.ledger.insert_many(rows)


async def test_what_is_read_or_was_never_shown_does_not_count(local: Local) -> None:
    person = local.somebody()
    await write(local, person, 7, unread=True)
    await local.db.ledger.update_many({"user_id": person}, {"$unset": {"unread": ""}})
    assert await Unread(local.db).count(person) == 0


async def test_many_people_at_once_each_get_their_own(local: Local) -> None:
    people = [local.somebody() for _ in range(250)]
    for number in (1, 99, 100, 249):
        await write(local, people[number], number, unread=True)
    count = Unread(local.db).count
    found = await asyncio.gather(*(count(person) for person in (*people, people[99])))
    expected = {1: 1, 99: 99, 100: 100, 249: 249}
    assert found == [*(expected.get(number, 0) for number in range(250)), 99]


async def test_a_count_has_a_bound(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED_MOST", 40)
    many, few = local.somebody(), local.somebody()
    await write(local, many, 50, unread=True)
    await write(local, few, 39, unread=True)
    count = Unread(local.db).count
    assert [await count(many), await count(few)] == [40, 39]


async def test_a_name_is_no_expression(local: Local) -> None:
    await write(local, "$unread", 3, unread=True)
    assert await Unread(local.db).count("$unread") == 3


@pytest.mark.parametrize("of_those", [{}, {"unseen": True}], ids=["unread", "unseen"])
async def test_it_looks_at_the_index_alone(local: Local, of_those: dict[str, bool]) -> None:
    person = local.somebody()
    await write(local, person, 30, unread=True, unseen=True)
    explained = await local.db.command(
        {
            "explain": {"aggregate": "ledger", "pipeline": module._counting(person, of_those), "cursor": {}},
            "verbosity": "executionStats",
        }
    )
    stages = explained.get("stages", [{"$cursor": explained}])
    stats = stages[0]["$cursor"]["executionStats"]
    assert stats["totalDocsExamined"] == 0
    # One more is where it looks whether there is another kind of nothing.
    assert stats["totalKeysExamined"] in (30, 31)
