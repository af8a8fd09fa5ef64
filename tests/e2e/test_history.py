"""A person's history: pages, cursors, order, and nobody else's entries."""

from __future__ import annotations

import pytest

from tests.e2e.people import People, Person, data
from tests.e2e.rest import BULK, Caller

SENT = 7


@pytest.fixture(scope="module")
async def reader(feed: Caller, people: People) -> tuple[Person, list[str]]:
    """Somebody with seven entries, and their ids, newest first."""
    person = people.stranger()
    sent = []
    for number in range(SENT):
        sent.append(await feed.send("in_app", user_id=person.user_id, data={"title": f"Heron {number}"}))
        await feed.settled(sent[-1])
    return person, sent[::-1]


def ids(page: dict[str, list[dict[str, str]]]) -> list[str]:
    return [entry["notification_id"] for entry in page["notifications"]]


async def test_a_page(reader: tuple[Person, list[str]]) -> None:
    person, sent = reader
    page = await person.caller.history(person.user_id, "?page=1&limit=3")
    assert page.keys() == {"notifications", "page", "limit", "total", "next_cursor", "offset", "epoch"}
    assert (page["page"], page["limit"], page["total"]) == (1, 3, SENT)
    assert ids(page) == sent[:3]
    assert page["next_cursor"]


async def test_what_holds_where_nothing_is_asked(reader: tuple[Person, list[str]]) -> None:
    person, sent = reader
    page = await person.caller.history(person.user_id)
    assert (page["page"], page["limit"], page["total"], page["next_cursor"]) == (1, 20, SENT, "")
    assert ids(page) == sent


async def test_pages_follow_each_other(reader: tuple[Person, list[str]]) -> None:
    person, sent = reader
    pages = [await person.caller.history(person.user_id, f"?page={n}&limit=3") for n in (1, 2, 3, 4)]
    assert [ids(page) for page in pages] == [sent[0:3], sent[3:6], sent[6:], []]
    assert [bool(page["next_cursor"]) for page in pages] == [True, True, False, False]


async def test_a_cursor_does_not_shift(feed: Caller, reader: tuple[Person, list[str]]) -> None:
    person, sent = reader
    first = await person.caller.history(person.user_id, "?limit=4")
    second = await person.caller.history(person.user_id, f"?limit=4&cursor={first['next_cursor']}")
    assert ids(first) + ids(second) == sent
    assert (second["page"], second["next_cursor"]) == (0, "")


async def test_a_cursor_survives_what_arrives_meanwhile(feed: Caller, people: People) -> None:
    person = people.stranger()
    sent = [await feed.send("in_app", user_id=person.user_id, data=data()) for _ in range(3)]
    for one in sent:
        await feed.settled(one)
    first = await person.caller.history(person.user_id, "?limit=2")
    newer = await feed.send("in_app", user_id=person.user_id, data=data())
    await feed.settled(newer)
    rest = await person.caller.history(person.user_id, f"?limit=2&cursor={first['next_cursor']}")
    assert sorted(ids(first) + ids(rest)) == sorted(sent)
    assert rest["total"] == 4


async def test_nobody_known_has_an_empty_history(people: People) -> None:
    person = people.stranger()
    page = await person.caller.history(person.user_id)
    assert (page["notifications"], page["total"], page["next_cursor"]) == ([], 0, "")


async def test_every_channel_leaves_an_entry(feed: Caller, people: People) -> None:
    person = people.stranger()
    sent = [
        await feed.send(type, user_id=person.user_id, data=data()) for type in ("push", "sms", "real_time")
    ]
    for one in sent:
        await feed.settled(one)
    page = await person.caller.history(person.user_id)
    assert {entry["type"] for entry in page["notifications"]} == {"PUSH", "SMS", "REAL_TIME"}


async def test_what_is_refused_leaves_no_trace(feed: Caller, people: People) -> None:
    person = people.stranger()
    bad = {"type": "in_app", "user_id": person.user_id, "data": {"title": "x" * 201}}
    assert (await feed.try_send(bad)).status == 400
    assert (await feed.post(BULK, {"notifications": [bad]})).ok["results"][0]["error"]["code"] == 3
    # What came after it is there, so that it would be, too.
    await feed.settled(await feed.send("in_app", user_id=person.user_id, data=data()))
    assert (await person.caller.history(person.user_id))["total"] == 1
