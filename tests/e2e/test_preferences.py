"""What people chose is obeyed, with a reason that the sender sees."""

from __future__ import annotations

import pytest

from tests.e2e.arrivals import Ledger
from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller

CHANNELS = {"real_time", "push", "email", "sms", "in_app"}
CATEGORIES = {"activity", "social", "system", "marketing", "security"}


def path(person: Person) -> str:
    return f"/api/v1/users/{person.user_id}/notification-preferences"


async def test_defaults_are_spelled_out(people: People) -> None:
    person = people.stranger()
    found = (await person.caller.get(path(person))).ok
    assert found["user_id"] == person.user_id
    assert found["categories"].keys() == CATEGORIES
    for category, channels in found["categories"].items():
        off = {"push", "email", "sms"} if category == "marketing" else set()
        assert channels == {channel: channel not in off for channel in CHANNELS}


async def test_what_was_got_can_be_put_back_unchanged(people: People) -> None:
    person = people.stranger()
    await people.prefer(person, {"social": {"push": False}})
    got = (await person.caller.get(path(person))).ok
    put = (await person.caller.put(path(person), got)).ok
    assert put["etag"] != got["etag"]
    # What was the default is chosen now.
    moved = dict.fromkeys(("update_time", "etag", "effective"))
    assert {**put, **moved} == {**got, **moved}
    assert (await person.caller.get(path(person))).ok == put


async def test_a_put_replaces(people: People) -> None:
    person = people.stranger()
    await people.prefer(person, {"activity": {"email": False}})
    await people.prefer(person, {"activity": {"sms": False}})
    activity = (await person.caller.get(path(person))).ok["categories"]["activity"]
    assert {channel for channel, on in activity.items() if not on} == {"sms"}


@pytest.mark.parametrize("type", sorted(CHANNELS))
async def test_off_is_off(feed: Caller, person: Person, people: People, ledger: Ledger, type: str) -> None:
    await people.prefer(person, {"activity": {type: False}})
    sent = await feed.send(type, user_id=person.user_id, data=data())
    delivery = await feed.outcome(sent)
    assert (delivery["state"], delivery["reason"]) == ("SUPPRESSED", "PREFERENCE_OFF")
    assert delivery["attempts"] == 0
    assert await ledger.entries(kind="all", notification_id=sent) == []


async def test_one_channel_off_leaves_the_others(feed: Caller, person: Person, people: People) -> None:
    await people.prefer(person, {"activity": {"sms": False}})
    found = await feed.settled(await feed.send(channels=["sms", "push"], user_id=person.user_id, data=data()))
    states = {delivery["channel"]: delivery["state"] for delivery in found["deliveries"]}
    assert states == {"SMS": "SUPPRESSED", "PUSH": "DELIVERED_TO_PROVIDER"}


async def test_marketing_waits_for_consent(feed: Caller, person: Person, people: People) -> None:
    before = await feed.settled(await feed.send(kind="promotion", user_id=person.user_id, data=data()))
    assert {d["channel"]: d["state"] for d in before["deliveries"]}["PUSH"] == "SUPPRESSED"
    await people.prefer(person, {"marketing": {"push": True}})
    after = await feed.settled(await feed.send(kind="promotion", user_id=person.user_id, data=data()))
    assert {d["channel"]: d["state"] for d in after["deliveries"]}["PUSH"] == "DELIVERED_TO_PROVIDER"


async def test_security_cannot_be_turned_off(feed: Caller, person: Person, people: People) -> None:
    await people.prefer(person, {"security": dict.fromkeys(CHANNELS, False)})
    sent = await feed.send("sms", user_id=person.user_id, data=data(), category="security")
    assert (await feed.outcome(sent))["state"] == "DELIVERED_TO_PROVIDER"


BAD = {
    "category": {"categories": {"politics": {"push": True}}},
    "another person": {"user_id": "user1", "categories": {}},
    "not a switch": {"categories": {"social": {"push": "perhaps"}}},
    "not a map": {"categories": []},
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
async def test_what_is_not_a_preference(people: People, body: object) -> None:
    person = people.stranger()
    answer = await person.caller.put(path(person), body)
    assert (answer.status, answer.problem.code) == (400, 3)
