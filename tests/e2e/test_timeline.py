"""What became of a notification, told to who sent it: when they ask, and by webhooks."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stack.commands import webhook_secret
from stack.control import Stack
from tests.e2e.people import Person, data
from tests.e2e.rest import NOTIFICATIONS, Caller, Rest
from tests.e2e.waiting import until
from tests.receiver import Call, Receiver, receiving
from tests.sendgrid_signer import Signer


@pytest.fixture(scope="module")
async def receiver(stack: Stack, hook: socket.socket) -> AsyncIterator[Receiver]:
    """The service feed, which knows its secret from `crown webhook-secret`."""
    async with receiving(hook, webhook_secret.of(stack, "feed")) as made:
        yield made


@pytest.fixture
def signer(stack: Stack) -> Signer:
    """Signs with the key that the stack's sandbox signs with."""
    return Signer((stack.layout.secrets / "sendgrid-webhook-key.pem").read_bytes())


async def tell(rest: Rest, signer: Signer, person: Person, delivery_id: str, *kinds: str) -> None:
    """SendGrid tells this of an e-mail."""
    events = [
        {
            "event": kind,
            "email": person.email,
            "timestamp": int(time.time()),
            "sg_message_id": f"{secrets.token_hex(8)}.filter",
            "delivery_id": delivery_id,
        }
        for kind in kinds
    ]
    body = json.dumps(events).encode()
    headers = {**signer.headers(body), "content-type": "application/json"}
    async with rest.http.post(
        f"http://{rest.address}/webhooks/sendgrid", data=body, headers=headers
    ) as answer:
        assert answer.status == 200


async def story(caller: Caller, notification_id: str, query: str = "") -> list[dict[str, Any]]:
    """What became of it on its way to people; webhooks about it may still be under way."""
    answer = (await caller.get(f"{NOTIFICATIONS}/{notification_id}/timeline{query}")).ok
    assert answer["notification_id"] == notification_id
    return [entry for entry in answer["entries"] if entry.get("channel") != "WEBHOOK"]


async def heard(receiver: Receiver, notification_id: str, count: int) -> list[Call]:
    async def calls() -> list[Call]:
        return receiver.about(notification_id)

    return await until(calls, lambda found: len(found) >= count)


async def test_a_sender_asks_and_is_told(
    rest: Rest, feed: Caller, person: Person, receiver: Receiver, signer: Signer
) -> None:
    notification_id = await feed.send(
        user_id=person.user_id, channels=["in_app", "email"], data=data(), webhook_url=receiver.url
    )
    deliveries = {one["channel"]: one for one in (await feed.settled(notification_id))["deliveries"]}
    email = deliveries["EMAIL"]["delivery_id"]
    await tell(rest, signer, person, email, "delivered", "open", "delivered")
    calls = await heard(receiver, notification_id, 4)
    assert {(call.body["data"]["channel"], call.state) for call in calls} == {
        ("IN_APP", "DELIVERED"),
        ("EMAIL", "DELIVERED_TO_PROVIDER"),
        ("EMAIL", "DELIVERED"),
        ("EMAIL", "READ"),
    }
    assert len({call.id for call in calls}) == len(calls) == 4
    assert person.email not in str(calls)

    entries = await story(feed, notification_id)
    assert [one["event"] for one in entries] == [
        "ACCEPTED",
        "DECIDED",
        "DECIDED",
        "ATTEMPTED",
        "CALLBACK",
        "CALLBACK",
        "CALLBACK",
    ]
    assert [one["time"] for one in entries] == sorted(one["time"] for one in entries)
    attempted = next(one for one in entries if one["event"] == "ATTEMPTED")
    assert (attempted["channel"], attempted["attempt"], attempted["state"]) == (
        "EMAIL",
        1,
        "DELIVERED_TO_PROVIDER",
    )
    assert {one["callback"] for one in entries[-3:]} == {"DELIVERED", "OPENED"}
    assert await story(feed, notification_id, f"?user_id={person.user_id}&limit=1000") == entries
    assert len(await story(feed, notification_id, "?user_id=nobody-we-know")) == 1
    found = next(one for one in (await feed.look(notification_id))["deliveries"] if one["channel"] == "EMAIL")
    assert found["state"] == "READ"
    assert "open_time" in found

    path = f"{NOTIFICATIONS}/{notification_id}/timeline"
    assert (await rest.service("chat").get(path)).status == 404
    assert (await rest.operator.get(path)).status == 200


@pytest.mark.parametrize("url", ["https://evil.example/", "http://127.0.0.1:1/", "https://169.254.169.254/"])
async def test_who_may_not_be_called(feed: Caller, person: Person, receiver: Receiver, url: str) -> None:
    body = {"type": "in_app", "user_id": person.user_id, "data": data(), "webhook_url": url}
    problem = (await feed.try_send(body)).problem
    assert (problem.status, set(problem.violations)) == (400, {"webhook_url"})
    assert f"allowed are 127.0.0.1:{receiver.port}" in problem.violations["webhook_url"]


async def test_a_service_that_nobody_may_be_called_for(
    rest: Rest, person: Person, receiver: Receiver
) -> None:
    body = {"type": "in_app", "user_id": person.user_id, "data": data(), "webhook_url": receiver.url}
    problem = (await rest.service("chat").try_send(body)).problem
    assert "no host is allowed" in problem.violations["webhook_url"]
