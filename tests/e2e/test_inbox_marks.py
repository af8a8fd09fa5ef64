"""Seen, archived and deleted entries, and repeated activity, by REST."""

from __future__ import annotations

from typing import Any

from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller


def path(person: Person, below: str = "") -> str:
    return f"/api/v1/users/{person.user_id}/notifications{below}"


async def told(feed: Caller, people: People, *some: dict[str, Any]) -> tuple[Person, list[str]]:
    """Somebody new who was told all of these; the ids, oldest first."""
    person = people.stranger()
    sent = [await feed.send("in_app", user_id=person.user_id, data=data(), **given) for given in some]
    for one in sent:
        await feed.settled(one)
    return person, sent


async def counts(person: Person) -> tuple[int, int]:
    found = (await person.caller.get(path(person, "/unread-count"))).ok
    return found["unread_count"], found["unseen_count"]


async def listed(person: Person, query: str = "") -> list[str]:
    page = await person.caller.history(person.user_id, query)
    return [entry["notification_id"] for entry in page["notifications"]]


async def test_an_entry_goes_its_way(feed: Caller, people: People) -> None:
    person, (one, two, three) = await told(feed, people, {}, {}, {})
    answer = (await person.caller.post(path(person, ":seen"), {"all": True})).ok
    assert (answer["changed"], await counts(person)) == (3, (3, 0))
    await person.caller.post(path(person, f"/{one}:read"), {})
    assert (await person.caller.post(path(person, f"/{one}:unread"), {})).ok["unread_count"] == 3
    some = {"notification_ids": [one, two]}
    assert (await person.caller.post(path(person, ":archive"), some)).ok["changed"] == 2
    assert (await listed(person), await listed(person, "?view=archived")) == ([three], [two, one])
    assert (await person.caller.post(path(person, f"/{two}:unarchive"), {})).ok["unread_count"] == 1
    gone = await person.caller.request("DELETE", path(person, f"/{three}"))
    assert gone.ok["unread_count"] == 0
    assert (await person.caller.request("DELETE", path(person, f"/{three}"))).status == 404
    assert await listed(person, "?view=all") == [two, one]
    # The sender still sees what became of it.
    assert (await feed.look(three))["deliveries"][0]["state"] == "DELIVERED"


async def test_what_is_named_is_one_thing(feed: Caller, people: People) -> None:
    person, (one,) = await told(feed, people, {})
    for body in ({}, {"notification_ids": [one], "all": True}, {"notification_ids": ["x"]}):
        for verb in ("unread", "seen", "archive", "unarchive", "delete"):
            answer = await person.caller.post(path(person, f":{verb}"), body)
            assert answer.status == 400
            assert [field.partition("[")[0] for field in answer.problem.violations] == ["notification_ids"]


async def test_repeated_activity_is_one_entry(feed: Caller, people: People) -> None:
    likes = [{"group_key": "post:42:like", "actor": {"name": name}} for name in ("Bob", "Cid", "Bob", "Ann")]
    person, sent = await told(feed, people, *likes)
    (entry,) = (await person.caller.history(person.user_id, "?group_key=post:42:like"))["notifications"]
    assert (entry["notification_id"], entry["actor_names"]) == (sent[-1], ["Ann", "Bob", "Cid"])
    assert (entry["actor_count"], entry["count"], await counts(person)) == (3, 4, (1, 1))
    assert (await person.caller.post(path(person, f"/{sent[0]}:read"), {})).ok["unread_count"] == 0
