"""What programs do to sockets, by REST: events for a topic, who is there, and sending people away."""

from __future__ import annotations

from typing import Any

from tests.e2e import phoenix
from tests.e2e.people import People, Person
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until


async def presence(caller: Caller, path: str) -> dict[str, Any]:
    found: dict[str, Any] = (await caller.get(path)).ok
    return found


def told(answer: dict[str, Any]) -> list[tuple[str, bool, int]]:
    return [(one["user_id"], one["online"], one["sockets"]) for one in answer["people"]]


async def club(feed: Caller, group_id: str, *people: Person) -> str:
    """A chat of these people; its topic."""
    assert (await feed.put(f"/api/v1/groups/{group_id}", {"kind": "CHAT"})).status == 200
    members = {"user_ids": [person.user_id for person in people]}
    assert (await feed.post(f"/api/v1/groups/{group_id}/members", members)).status == 200
    return f"chat:{group_id}"


async def test_an_event_for_a_topic_reaches_who_is_on_it(rest: Rest, feed: Caller, people: People) -> None:
    ann, bob = people.stranger(), people.stranger()
    topic = await club(feed, "events", ann)
    path = f"/api/v1/topics/{topic}/events"
    async with phoenix.connected(rest, str(ann.caller.token)) as socket:
        await socket.join(topic)
        sent = (await feed.post(path, {"event": "hello", "payload": {"a": 1}})).ok
        assert (await socket.pushed("hello"))["offset"] == int(sent["offset"])
        assert (await feed.post(path, {"event": "hi", "ephemeral": True})).ok == {"offset": "0"}
        assert await socket.pushed("hi") == {}
    for payload, field in (({"offset": 1}, "payload.offset"), ({"x": "y" * 20_000}, "payload")):
        refused = (await feed.post(path, {"event": "hello", "payload": payload})).problem
        assert refused.violations.keys() == {field}
    assert (await bob.caller.post(path, {"event": "hello"})).status == 403


async def test_who_is_there(rest: Rest, feed: Caller, people: People) -> None:
    ann, bob = people.stranger(), people.stranger()
    topic = await club(feed, "presence", ann, bob)
    own = f"/api/v1/users/{ann.user_id}/presence"
    assert told(await presence(ann.caller, own)) == [(ann.user_id, False, 0)]
    async with phoenix.connected(rest, str(ann.caller.token)) as socket:
        await socket.join(topic)
        several = f"/api/v1/presence?user_ids={bob.user_id}&user_ids={ann.user_id}"
        assert [one["user_id"] for one in (await presence(feed, several))["people"]] == [
            bob.user_id,
            ann.user_id,
        ]
        on_topic = f"/api/v1/topics/{topic}/presence"
        found = await until(lambda: presence(feed, on_topic), lambda found: found["online_count"] == 1)
        assert told(found) == [(ann.user_id, True, 1)]
        assert (await ann.caller.get(on_topic)).status == 403
        assert (await bob.caller.get(own)).status == 403
    await until(lambda: presence(feed, on_topic), lambda found: found["online_count"] == 0)


async def test_only_who_may_sends_people_away(rest: Rest, people: People) -> None:
    ann = people.stranger()
    path = f"/api/v1/users/{ann.user_id}:disconnect"
    assert (await ann.caller.post(path, {})).status == 403
    assert (await rest.service("feed", "inbox.read").post(path, {})).status == 403
    assert (await rest.service("auth", "sessions.revoke").post(path, {"keep_tokens": True})).ok == {}
    refused = (await rest.operator.post(path, {"session_id": "a b"})).problem
    assert refused.violations.keys() == {"session_id"}
