"""What cannot be delivered ends in a state with a reason, and never in silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.arrivals import Ledger
from tests.e2e.people import DEVICE_PREFIX, People, data
from tests.e2e.rest import Caller


@pytest.mark.parametrize("type", ["push", "email", "sms"])
async def test_nowhere_to_send_to(feed: Caller, people: People, type: str) -> None:
    sent = await feed.send(type, user_id=people.stranger().user_id, data=data())
    delivery = await feed.outcome(sent)
    assert (delivery["state"], delivery["reason"]) == ("SUPPRESSED", "NO_ADDRESS")


async def test_a_device_that_is_gone_is_forgotten(feed: Caller, people: People, ledger: Ledger) -> None:
    person = await people.new("unregistered-heron-")
    sent = await feed.send("push", user_id=person.user_id, data=data())
    delivery = await feed.outcome(sent)
    assert (delivery["state"], delivery["attempts"]) == ("FAILED", 1)
    assert "UNREGISTERED" in delivery["reason"]
    assert (await person.caller.get(f"/api/v1/users/{person.user_id}/devices")).ok["devices"] == []
    (refusal,) = await ledger.entries(kind="all", notification_id=sent)
    assert refusal["status"] == 404


async def test_the_other_device_still_gets_it(feed: Caller, people: People, ledger: Ledger) -> None:
    person = await people.new("unregistered-heron-")
    alive = f"{DEVICE_PREFIX}alive-{person.user_id}"
    await people.add_device(person, alive)
    sent = await feed.send("push", user_id=person.user_id, data=data())
    assert (await feed.outcome(sent))["state"] == "DELIVERED_TO_PROVIDER"
    assert (await ledger.effect(sent))["recipient"] == alive
    devices = (await person.caller.get(f"/api/v1/users/{person.user_id}/devices")).ok["devices"]
    assert len(devices) == 1


async def test_who_stops_texts_gets_none(feed: Caller, people: People, ledger: Ledger) -> None:
    person = await people.new()
    async with ledger.http.post(
        f"{ledger.url}/twilio/inbound", json={"from": person.phone, "body": "STOP"}
    ) as answer:
        assert answer.status == 200
    delivery = await feed.outcome(await feed.send("sms", user_id=person.user_id, data=data()))
    assert (delivery["state"], delivery["reason"]) == ("SUPPRESSED", "ADDRESS_SUPPRESSED: UNSUBSCRIBE")


async def test_what_expires_is_not_sent_later(feed: Caller, people: People, ledger: Ledger) -> None:
    person = await people.new()
    expires = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    async with ledger.scripted("fcm", person.device_token, status=503):
        sent = await feed.send("push", user_id=person.user_id, data=data(), expires_at=expires)
        delivery = await feed.outcome(sent)
    assert (delivery["state"], delivery["attempts"]) == ("EXPIRED", 1)
    assert await ledger.entries(notification_id=sent) == []


async def test_what_does_not_expire_yet_is_sent(feed: Caller, people: People) -> None:
    person = await people.new()
    expires = "2126-11-22T10:00:00+01:00"
    sent = await feed.send("push", user_id=person.user_id, data=data(), expires_at=expires)
    found = await feed.settled(sent)
    assert found["expire_time"] == "2126-11-22T09:00:00Z"
    assert found["deliveries"][0]["state"] == "DELIVERED_TO_PROVIDER"
