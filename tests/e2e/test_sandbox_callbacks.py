"""What the sandbox tells by a script goes the whole way: signed, through the gateway, into the ledger."""

from __future__ import annotations

from typing import Any

import pytest

from stack.control import Stack
from tests.e2e.arrivals import Ledger
from tests.e2e.people import People, data
from tests.e2e.rest import Caller
from tests.e2e.waiting import until


async def post(ledger: Ledger, path: str, body: Any = None) -> dict[str, Any]:
    async with ledger.http.post(f"{ledger.url}{path}", json=body or {}) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def callbacks(ledger: Ledger, **where: str) -> list[dict[str, Any]]:
    """The callbacks that have been answered."""
    async with ledger.http.get(f"{ledger.url}/callbacks", params=where) as answer:
        return [one for one in (await answer.json())["callbacks"] if one["status"]]


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (
            [{"event": "queued"}, {"event": "sent", "after_s": 0.1}, {"event": "delivered", "after_s": 0.2}],
            "DELIVERED",
        ),
        ([{"event": "delivered"}, {"event": "queued", "after_s": 0.3, "times": 2}], "DELIVERED"),
        ([{"event": "undelivered"}], "BOUNCED"),
    ],
    ids=["in order", "out of order and twice", "undelivered"],
)
async def test_what_twilio_tells_becomes_the_state(
    feed: Caller, people: People, ledger: Ledger, told: list[dict[str, Any]], state: str
) -> None:
    person = await people.new()
    async with ledger.scripted("twilio", person.phone, callbacks=told):
        sent = await feed.send("sms", user_id=person.user_id, data=data())
        delivery = await feed.outcome(sent)
    count = sum(one.get("times", 1) for one in told)
    message = {"message_id": delivery["provider_message_id"]}
    taken = await until(lambda: callbacks(ledger, **message), lambda found: len(found) == count)
    assert {(one["state"], one["status"]) for one in taken} == {("taken", 200)}
    await until(lambda: feed.outcome(sent), lambda found: found["state"] == state)


async def test_what_somebody_else_signs_changes_nothing(feed: Caller, people: People, ledger: Ledger) -> None:
    person = await people.new()
    told = [{"event": "undelivered", "signed": signed} for signed in ("wrong", "missing")]
    async with ledger.scripted("twilio", person.phone, callbacks=told):
        sent = await feed.send("sms", user_id=person.user_id, data=data())
        delivery = await feed.outcome(sent)
    message = {"message_id": delivery["provider_message_id"]}
    refused = await until(lambda: callbacks(ledger, **message), lambda found: len(found) == 2)
    assert {(one["state"], one["status"]) for one in refused} == {("refused", 403)}
    assert (await feed.outcome(sent))["state"] == "DELIVERED_TO_PROVIDER"


async def test_who_texts_stop_hears_no_more(feed: Caller, people: People, ledger: Ledger) -> None:
    person = await people.new()
    answer = await post(ledger, "/twilio/inbound", {"from": person.phone, "body": "STOP"})
    assert (answer["status"], person.phone in answer["stopped"]) == (200, True)
    sent = await feed.send("sms", user_id=person.user_id, data=data())
    assert (await feed.outcome(sent))["state"] == "SUPPRESSED"
    # START at SNS is heard as well, since people have one number for all senders.
    assert (await post(ledger, "/sns/inbound", {"from": person.phone, "body": "START"}))["status"] == 200


async def test_the_suite_wants_the_topic_of_the_sandbox_s_sns(ledger: Ledger, stack: Stack) -> None:
    answer = await post(ledger, "/sns/subscription")
    assert answer["status"] == 200
    assert answer["topic"] == stack.environment("sms")["CROWN_SNS_TOPICS"]
