"""The requests of the API as callers paste them, and that each arrives where it should."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.arrivals import Ledger, Mailbox
from tests.e2e.people import MESSAGE, TITLE, People, Person, data
from tests.e2e.phoenix import connected
from tests.e2e.rest import BULK, Caller, Rest

ONE = """{
  "type": "%s",
  "user_id": "user123",
  "data": {
    "title": "New Message",
    "message": "You have a new message from John",
    "action_url": "/messages/123"
  }
}"""
MANY = """{
  "notifications": [
    {
      "type": "push",
      "user_ids": ["user1", "user2", "user3"],
      "data": { "title": "System Update", "message": "..." }
    }
  ]
}"""
TYPES = ["real_time", "push", "email", "sms", "in_app"]
FINAL = {
    "REAL_TIME": "DELIVERED",
    "IN_APP": "DELIVERED",
    "PUSH": "DELIVERED_TO_PROVIDER",
    "EMAIL": "DELIVERED_TO_PROVIDER",
    "SMS": "DELIVERED_TO_PROVIDER",
}


@pytest.mark.parametrize("type", TYPES)
async def test_each_type_as_it_is_pasted(seeded: None, feed: Caller, type: str) -> None:
    answer = (await feed.try_send((ONE % type).encode())).ok
    assert answer.keys() == {"notification_id", "status"}
    assert answer["status"] == "ACCEPTED"
    found = await feed.settled(answer["notification_id"])
    (delivery,) = found["deliveries"]
    assert (delivery["channel"], delivery["state"]) == (type.upper(), FINAL[type.upper()])


async def test_a_bulk_as_it_is_pasted(seeded: None, feed: Caller, ledger: Ledger) -> None:
    (result,) = (await feed.post(BULK, MANY.encode())).ok["results"]
    assert result["status"] == "ACCEPTED"
    found = await feed.settled(result["notification_id"])
    assert found["recipient_count"] == 3
    effects = await ledger.effects(result["notification_id"], 3)
    assert {effect["recipient"] for effect in effects} == {f"device-of-user{n}" for n in (1, 2, 3)}


async def test_a_frame_on_the_socket(rest: Rest, feed: Caller, person: Person) -> None:
    assert person.caller.token
    async with connected(rest, person.caller.token) as socket:
        joined = await socket.join(f"user:{person.user_id}")
        sent = await feed.send("real_time", user_id=person.user_id, kind="comment", data=data(extra={"n": 1}))
        frame = await socket.pushed("notification")
    assert frame["notification_id"] == sent
    assert (frame["type"], frame["kind"], frame["category"]) == ("REAL_TIME", "comment", "ACTIVITY")
    assert frame["data"] == data(image_url="", extra={"n": 1})
    assert frame["epoch"] == joined["epoch"]
    assert frame["offset"] > joined["offset"]
    assert frame["create_time"]


async def test_a_push_at_the_provider(feed: Caller, person: Person, ledger: Ledger) -> None:
    sent = await feed.send("push", user_id=person.user_id, data=data())
    effect = await ledger.effect(sent)
    delivery = await feed.outcome(sent)
    assert (effect["provider"], effect["recipient"]) == ("fcm", person.device_token)
    assert (effect["title"], effect["text"]) == (TITLE, MESSAGE)
    assert effect["delivery_id"] == delivery["delivery_id"]
    assert delivery["provider"] == "fcm"
    assert delivery["provider_message_id"] == effect["answer"]["name"]


async def test_a_text_at_the_provider(feed: Caller, person: Person, ledger: Ledger) -> None:
    sent = await feed.send("sms", user_id=person.user_id, data=data())
    effect = await ledger.effect(sent)
    delivery = await feed.outcome(sent)
    assert (effect["provider"], effect["recipient"]) == ("twilio", person.phone)
    assert effect["text"].splitlines()[:2] == [TITLE, MESSAGE]
    assert effect["delivery_id"] == delivery["delivery_id"]
    assert delivery["provider_message_id"] == effect["answer"]["sid"]


async def test_a_mail_in_the_mailbox(feed: Caller, person: Person, mailbox: Mailbox) -> None:
    sent = await feed.send("email", user_id=person.user_id, data=data())
    mail = await mailbox.message(notification_id=sent)
    delivery = await feed.outcome(sent)
    assert mail["to"] == [person.email]
    assert mail["subject"] == TITLE
    assert MESSAGE in mail["text"]
    assert MESSAGE in mail["html"]
    assert "/messages/123" in mail["html"]
    assert mail["headers"]["To"] == person.email
    assert mail["headers"]["X-Crown-Notification-Id"] == sent
    assert mail["headers"]["X-Crown-Delivery-Id"] == delivery["delivery_id"]
    assert delivery["delivery_id"] in mail["headers"]["Message-ID"]
    assert (delivery["provider"], delivery["attempts"]) == ("smtp", 1)


async def test_an_entry_in_the_inbox(feed: Caller, person: Person) -> None:
    sent = await feed.send("in_app", user_id=person.user_id, data=data())
    await feed.settled(sent)
    (entry,) = (await person.caller.history(person.user_id))["notifications"]
    assert entry["notification_id"] == sent
    assert (entry["type"], entry["channels"]) == ("IN_APP", ["IN_APP"])
    assert entry["data"] == data(image_url="")
    assert [d["state"] for d in entry["deliveries"]] == ["DELIVERED"]


async def test_what_the_sender_is_told(feed: Caller, person: Person) -> None:
    channels = ["in_app", "push", "email", "sms", "real_time"]
    sent = await feed.send(channels=channels, user_id=person.user_id, data=data(), kind="login_alert")
    found = await feed.settled(sent)
    assert {d["channel"]: d["state"] for d in found["deliveries"]} == FINAL
    assert len({d["delivery_id"] for d in found["deliveries"]}) == 5
    assert (found["sender"], found["kind"], found["category"]) == ("feed", "login_alert", "SECURITY")
    assert (found["priority"], found["recipient_count"]) == ("CRITICAL", 1)
    assert all(d["update_time"] and d["user_id"] == person.user_id for d in found["deliveries"])


ROUTES = {
    "": ("ACTIVITY", {"IN_APP", "REAL_TIME"}, "NORMAL"),
    "like": ("ACTIVITY", {"IN_APP", "REAL_TIME"}, "NORMAL"),
    "mention": ("ACTIVITY", {"IN_APP", "REAL_TIME", "PUSH"}, "NORMAL"),
    "friend_request": ("SOCIAL", {"IN_APP", "REAL_TIME", "PUSH"}, "NORMAL"),
    "maintenance": ("SYSTEM", {"IN_APP", "EMAIL"}, "NORMAL"),
    "campaign": ("MARKETING", {"IN_APP", "EMAIL"}, "BULK"),
    "password_change": ("SECURITY", {"IN_APP", "REAL_TIME", "PUSH", "EMAIL", "SMS"}, "CRITICAL"),
}


@pytest.mark.parametrize("kind", ROUTES, ids=[kind or "none" for kind in ROUTES])
async def test_the_kind_alone_decides(feed: Caller, person: Person, kind: str) -> None:
    named = {"kind": kind} if kind else {}
    found = await feed.settled(await feed.send(user_id=person.user_id, data=data(), **named))
    channels = {delivery["channel"] for delivery in found["deliveries"]}
    assert (found["category"], channels, found["priority"]) == ROUTES[kind]


@pytest.mark.parametrize("priority", ["critical", "NORMAL", "Bulk"])
async def test_every_lane_arrives(feed: Caller, person: Person, ledger: Ledger, priority: str) -> None:
    sent = await feed.send("push", user_id=person.user_id, data=data(), priority=priority)
    assert (await ledger.effect(sent))["recipient"] == person.device_token
    assert (await feed.settled(sent))["priority"] == priority.upper()


async def test_several_people_are_one_notification(feed: Caller, people: People, ledger: Ledger) -> None:
    group = [await people.new() for _ in range(3)]
    sent = await feed.send("push", user_ids=[one.user_id for one in group], data=data())
    found = await feed.settled(sent)
    assert found["recipient_count"] == 3
    assert {d["user_id"] for d in found["deliveries"]} == {one.user_id for one in group}
    effects = await ledger.effects(sent, 3)
    assert sorted(e["recipient"] for e in effects) == sorted(one.device_token for one in group)


INLINE: dict[str, dict[str, Any]] = {
    "email": {"email": "someone.else@heron.example"},
    "sms": {"phone": "+12025569999"},
    "push": {"device_tokens": ["heron-device-inline"]},
}


@pytest.mark.parametrize("type", INLINE)
async def test_an_address_that_comes_along(
    feed: Caller, people: People, ledger: Ledger, mailbox: Mailbox, type: str
) -> None:
    stranger = people.stranger()
    sent = await feed.send(type, user_id=stranger.user_id, data=data(), address=INLINE[type])
    assert (await feed.outcome(sent))["state"] == "DELIVERED_TO_PROVIDER"
    if type == "email":
        assert (await mailbox.message(notification_id=sent))["to"] == [INLINE[type]["email"]]
    else:
        wanted = INLINE[type].get("phone") or INLINE[type]["device_tokens"][0]
        assert (await ledger.effect(sent))["recipient"] == wanted


async def test_the_direct_sends(feed: Caller, person: Person, ledger: Ledger, mailbox: Mailbox) -> None:
    sends = {
        "/api/v1/email:send": {"to": person.email},
        "/api/v1/push:send": {"token": person.device_token},
        "/api/v1/sms:send": {"to": person.phone},
    }
    for path, to in sends.items():
        receipt = (await feed.post(path, {**to, "data": data()})).ok["receipt"]
        assert receipt["state"] == "DELIVERED_TO_PROVIDER"
    assert (await mailbox.message(to=person.email))["subject"] == TITLE
    for address in (person.device_token, person.phone):
        assert len(await ledger.entries(recipient=address)) == 1


async def test_unknown_notifications(feed: Caller, rest: Rest, person: Person) -> None:
    unknown = await feed.get("/api/v1/notifications/01a202de-cd68-776b-aacc-66961d5740dd")
    assert (unknown.status, unknown.problem.reason) == (404, "NOT_FOUND")
    assert (await feed.get("/api/v1/notifications/x")).problem.violations.keys() == {"notification_id"}
    sent = await feed.send("in_app", user_id=person.user_id, data=data())
    await feed.settled(sent)
    assert (await rest.service("ads").get(f"/api/v1/notifications/{sent}")).problem.code == 5
    assert (await rest.operator.look(sent))["sender"] == "feed"
