"""What is unread, and marking it, by REST."""

from __future__ import annotations

from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller, Rest

ABSENT = "01a202de-cd68-776b-aacc-66961d5740dd"


async def told(
    feed: Caller, people: People, count: int = 1, type: str = "in_app"
) -> tuple[Person, list[str]]:
    """Somebody new who was told this much; the ids, oldest first."""
    person = people.stranger()
    sent = [await feed.send(type, user_id=person.user_id, data=data()) for _ in range(count)]
    for one in sent:
        await feed.settled(one)
    return person, sent


def path(person: Person, below: str = "") -> str:
    return f"/api/v1/users/{person.user_id}/notifications{below}"


async def unread(person: Person) -> int:
    """What the person is told of the count."""
    return int((await person.caller.get(path(person, "/unread-count"))).ok["unread_count"])


async def test_read_one_by_one_and_then_all(feed: Caller, people: People) -> None:
    person, sent = await told(feed, people, 5)
    assert await unread(person) == 5
    one = path(person, f"/{sent[0]}:read")
    assert (await person.caller.post(one, {})).ok == {"marked": 1, "unread_count": 4}
    assert (await person.caller.post(one, {})).ok == {"marked": 0, "unread_count": 4}
    some = {"notification_ids": [sent[0], sent[1], ABSENT]}
    assert (await person.caller.post(path(person, ":read"), some)).ok == {"marked": 1, "unread_count": 3}
    page = await person.caller.history(person.user_id, "?unread_only=true&limit=2")
    assert [entry["notification_id"] for entry in page["notifications"]] == [sent[4], sent[3]]
    assert page["total"] == 3
    answer = (await person.caller.post(path(person, ":read-all"), {})).ok
    assert (answer["marked"], answer.keys()) == (3, {"marked", "read_time"})
    assert await unread(person) == 0
    page = await person.caller.history(person.user_id)
    assert all(entry["read_time"] for entry in page["notifications"])
    assert (await person.caller.history(person.user_id, "?unread_only=true"))["notifications"] == []


async def test_nobody_else_may(rest: Rest, feed: Caller, people: People) -> None:
    person, (sent,) = await told(feed, people)
    other = people.stranger()
    for caller in (other.caller, rest.service("feed", "inbox.read"), rest.operator):
        assert (await caller.post(path(person, f"/{sent}:read"), {})).status == 403
        assert (await caller.post(path(person, ":read"), {"notification_ids": [sent]})).status == 403
        assert (await caller.post(path(person, ":read-all"), {})).status == 403
    assert (await other.caller.get(path(person, "/unread-count"))).status == 403
    # Under their own name, it is no notification of theirs.
    assert (await other.caller.post(path(other, f"/{sent}:read"), {})).status == 404
    assert await unread(person) == 1
    writer = rest.service("app", "inbox.write")
    assert (await writer.post(path(person, ":read-all"), {})).ok["marked"] == 1


async def test_a_body_names_nobody_else(feed: Caller, people: People) -> None:
    person, (sent,) = await told(feed, people)
    other = people.stranger()
    for named in ("user_id", "userId"):
        for below in (":read-all", f"/{sent}:read"):
            # Refused, or the path counts: the message that was decided on is about the caller.
            answer = await other.caller.post(path(other, below), {named: person.user_id})
            assert answer.status in (400, 403, 404) or answer.ok["marked"] == 0, answer
    assert await unread(person) == 1


async def test_what_is_refused_names_the_field(feed: Caller, people: People) -> None:
    person = people.stranger()
    for below, body, field in (
        (":read", {}, "notification_ids"),
        (":read", {"notification_ids": ["x"]}, "notification_ids[0]"),
        (":read", {"notification_ids": [ABSENT] * 101}, "notification_ids"),
        ("/x:read", {}, "notification_id"),
        (f"/{ABSENT}:read", {"notification_ids": [ABSENT]}, "notification_ids"),
    ):
        answer = await person.caller.post(path(person, below), body)
        assert (answer.status, list(answer.problem.violations)) == (400, [field]), (below, body)
    assert (await person.caller.post(path(person, f"/{ABSENT}:read"), {})).status == 404


async def test_a_page_says_where_live_events_stood(feed: Caller, people: People) -> None:
    person, _ = await told(feed, people, type="real_time")
    first = await person.caller.history(person.user_id)
    assert first["epoch"]
    await feed.settled(await feed.send("real_time", user_id=person.user_id, data=data()))
    second = await person.caller.history(person.user_id)
    assert int(second["offset"]) > int(first["offset"]) > 0
    assert second["epoch"] == first["epoch"]
