"""Several at once, where one is somebody else's: what is theirs stays as it is, and nobody learns that it is
there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller, Rest
from tests.trust import matrix

SURFACE = "bulk with somebody else's"
MARKS = ["read", "unread", "seen", "archive", "unarchive", "delete"]
UNKNOWN = "01a202de-cd68-776b-aacc-66961d5740dd"


def inbox(person: Person, below: str = "") -> str:
    return f"/api/v1/users/{person.user_id}/notifications{below}"


async def seen(person: Person) -> Any:
    """All that the person has, with what is marked."""
    return (await person.caller.get(inbox(person, "?view=all"))).ok["notifications"]


@pytest.fixture
async def both(feed: Caller, people: People) -> tuple[Person, str, Person, str]:
    """Two people, each with one notification."""
    found: list[Any] = []
    for person in (people.stranger(), people.stranger()):
        sent = await feed.send("in_app", user_id=person.user_id, data=data())
        await feed.settled(sent)
        found += [person, sent]
    return found[0], found[1], found[2], found[3]


async def test_marks_touch_nothing_of_others(both: tuple[Person, str, Person, str]) -> None:
    mallory, own, victim, theirs = both
    before = await seen(victim)
    for mark in MARKS:
        # The one that is not there and the one that is another's are the same to who asks.
        answers = [
            await mallory.caller.post(inbox(mallory, f":{mark}"), {"notification_ids": [own, foreign]})
            for foreign in (theirs, UNKNOWN)
        ]
        statuses = {answer.status for answer in answers}
        matrix.check(SURFACE, len(statuses), 1, mark, answers)
        single = [
            (await mallory.caller.post(inbox(mallory, f"/{foreign}:{mark}"), {})).status
            for foreign in (theirs, UNKNOWN)
            if mark != "delete"
        ]
        matrix.check(SURFACE, set(single) <= {404}, True, mark, single)
    deleted = await mallory.caller.request("DELETE", inbox(mallory, f"/{theirs}"))
    matrix.check(SURFACE, deleted.status, 404, deleted)
    assert await seen(victim) == before


async def test_a_key_twice_is_decided_once(both: tuple[Person, str, Person, str]) -> None:
    """What is decided on is what is done, whichever of two keys counts."""
    mallory, own, victim, _ = both
    before = await seen(victim)
    names = [("user_id", "user_id"), ("user_id", "userId"), ("userId", "user_id"), ("userId", "userId")]
    pairs = [(one, two) for one in (mallory, victim) for two in (mallory, victim) if one is not two]
    for first, second in names:
        for one, two in pairs:
            body = (
                f'{{"{first}": {json.dumps(one.user_id)}, "{second}": {json.dumps(two.user_id)},'
                f' "notification_ids": [{json.dumps(own)}]}}'
            ).encode()
            answer = await mallory.caller.post(inbox(mallory, ":archive"), body)
            harmless = answer.status in (400, 403) or victim.user_id.encode() not in answer.body
            matrix.check(SURFACE, harmless, True, body, answer)
    assert await seen(victim) == before


async def test_a_service_sees_what_it_sent_and_nothing_else(
    rest: Rest, feed: Caller, both: tuple[Person, str, Person, str]
) -> None:
    _, sent, _, _ = both
    other = rest.service("ads", "notifications.send")
    path = f"/api/v1/notifications/{sent}"
    for verb, below in (("GET", ""), ("GET", "/timeline"), ("POST", ":cancel")):
        answer = await other.request(verb, f"{path}{below}", {} if verb == "POST" else None)
        matrix.check(SURFACE, answer.status, 404, verb, below, answer)
    assert (await feed.get(path)).status == 200
    body = {"cron": "0 9 * * *", "notification": {"user_id": "u1", "data": data()}}
    made = (await feed.post("/api/v1/schedules", body)).ok["schedule"]["schedule_id"]
    schedule = f"/api/v1/schedules/{made}"
    for verb, below in (
        ("GET", ""),
        ("PUT", ""),
        ("POST", ":run"),
        ("POST", ":pause"),
        ("POST", ":resume"),
        ("DELETE", ""),
    ):
        given = body if verb == "PUT" else {} if verb == "POST" else None
        answer = await other.request(verb, f"{schedule}{below}", given)
        matrix.check(SURFACE, answer.status, 404, verb, below, answer)
    listed = (await other.get("/api/v1/schedules")).ok["schedules"]
    matrix.check(SURFACE, [one for one in listed if one["schedule_id"] == made], [], listed)
    assert (await feed.request("DELETE", schedule)).status == 200
