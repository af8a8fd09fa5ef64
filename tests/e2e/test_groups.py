"""Groups and their members by REST."""

from __future__ import annotations

import secrets

import pytest

from tests.e2e.people import People
from tests.e2e.rest import Caller, Rest


@pytest.fixture
def path() -> str:
    """Where a group that nobody has made yet stands."""
    return f"/api/v1/groups/g{secrets.token_hex(6)}"


async def test_a_group_is_made_filled_listed_and_deleted(feed: Caller, path: str) -> None:
    assert (await feed.get(path)).status == 404
    made = (await feed.put(path, {"client_events": True})).ok
    assert made.keys() == {"group_id", "kind", "client_events", "create_time"}
    assert (made["kind"], made["client_events"]) == ("GROUP", True)
    people = [f"p{number}" for number in range(5)]
    assert (await feed.post(f"{path}/members", {"user_ids": people})).ok == {"added": 5}
    assert (await feed.post(f"{path}/members:remove", {"user_ids": ["p1", "q"]})).ok == {"removed": 1}
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await feed.get(f"{path}/members?limit=2&cursor={cursor}")).ok
        seen += [member["user_id"] for member in page["members"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == ["p0", "p2", "p3", "p4"]
    assert (await feed.request("DELETE", path)).ok == {}
    assert (await feed.request("DELETE", path)).ok == {}
    assert (await feed.get(f"{path}/members")).status == 404
    assert (await feed.post(f"{path}/members", {"user_ids": ["a"]})).status == 404


@pytest.mark.parametrize("body", [{}, {"kind": "CHAT", "client_events": True}])
async def test_what_was_got_can_be_put_back_unchanged(
    feed: Caller, path: str, body: dict[str, object]
) -> None:
    await feed.put(path, body)
    got = (await feed.get(path)).ok
    assert (await feed.put(path, got)).ok == got
    assert (await feed.get(path)).ok == got


@pytest.mark.parametrize("group_id", ["team:1", "a.b_c~d@e|f+g=h-i", "0", "x" * 128])
async def test_whatever_a_group_may_be_called(feed: Caller, group_id: str) -> None:
    path = f"/api/v1/groups/{group_id}"
    assert (await feed.put(path, {})).ok["group_id"] == group_id
    assert (await feed.post(f"{path}/members", {"user_ids": [group_id]})).ok == {"added": 1}
    assert (await feed.get(f"{path}/members")).ok["members"][0]["user_id"] == group_id
    assert (await feed.post(f"{path}/members:remove", {"user_ids": [group_id]})).ok == {"removed": 1}
    assert (await feed.request("DELETE", path)).status == 200


async def test_a_kind_never_changes(feed: Caller, path: str) -> None:
    await feed.put(path, {"kind": "chat"})
    for body in ({"kind": "GROUP"}, {}):
        answer = await feed.put(path, body)
        assert (answer.status, list(answer.problem.violations)) == (400, ["group.kind"])
        assert "CHAT" in answer.problem.violations["group.kind"]
    assert (await feed.get(path)).ok["kind"] == "CHAT"


BAD = {
    "another group": ("PUT", "", {"group_id": "another"}, "group.group_id"),
    "no such kind": ("PUT", "", {"kind": 7}, "group.kind"),
    "nobody": ("POST", "/members", {"user_ids": []}, "user_ids"),
    "a person that there cannot be": ("POST", "/members", {"user_ids": ["a", "a/b"]}, "user_ids[1]"),
    "too many": ("POST", "/members:remove", {"user_ids": ["a"] * 1_001}, "user_ids"),
    "no page": ("GET", "/members?limit=0", None, "limit"),
    "a made up cursor": ("GET", "/members?cursor=xyz", None, "cursor"),
}


@pytest.mark.parametrize(("verb", "below", "body", "field"), BAD.values(), ids=BAD)
async def test_what_is_refused_names_the_field(
    feed: Caller, path: str, verb: str, below: str, body: object, field: str
) -> None:
    await feed.put(path, {})
    answer = await feed.request(verb, f"{path}{below}", body)
    assert (answer.status, list(answer.problem.violations)) == (400, [field])


async def test_a_person_changes_no_group(rest: Rest, feed: Caller, people: People, path: str) -> None:
    member = people.stranger()
    await feed.put(path, {})
    await feed.post(f"{path}/members", {"user_ids": [member.user_id]})
    for caller in (member.caller, people.stranger().caller, rest.service("feed", "inbox.write")):
        assert (await caller.get(path)).status == 403
        assert (await caller.put(path, {})).status == 403
        assert (await caller.request("DELETE", path)).status == 403
        assert (await caller.get(f"{path}/members")).status == 403
        assert (await caller.post(f"{path}/members", {"user_ids": ["a"]})).status == 403
        assert (await caller.post(f"{path}/members:remove", {"user_ids": ["a"]})).status == 403
    page = (await rest.operator.get(f"{path}/members")).ok
    assert [found["user_id"] for found in page["members"]] == [member.user_id]
