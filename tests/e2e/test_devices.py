"""Devices from outside: what is one, what is none, and what a registration replaces."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.e2e.arrivals import Ledger
from tests.e2e.people import DEVICE_PREFIX, People, Person, data
from tests.e2e.rest import Caller

KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/heron"
WEB: dict[str, Any] = {"token": ENDPOINT, "kind": "web_push", "platform": "web", "web_push": KEYS}


def devices(person: Person) -> str:
    return f"/api/v1/users/{person.user_id}/devices"


BAD = {
    "no token": ({}, {"token"}),
    "a token of 5 KB": ({"token": "x" * 5_120}, {"token"}),
    "a token in two words": ({"token": "a b"}, {"token"}),
    "no such kind": ({"token": "t", "kind": 7}, {"kind"}),
    "no such platform": ({"token": "t", "platform": 7}, {"platform"}),
    "no language": ({"token": "t", "locale": "Portuguese"}, {"locale"}),
    "no zone": ({"token": "t", "time_zone": "Europe/Berln"}, {"time_zone"}),
    "keys on a token": ({"token": "t", "web_push": KEYS}, {"web_push"}),
    "a browser without keys": ({**WEB, "web_push": None}, {"web_push"}),
    "a browser with half of them": ({**WEB, "web_push": {"auth": KEYS["auth"]}}, {"web_push.p256dh"}),
    "a key that is no point": ({**WEB, "web_push": {**KEYS, "p256dh": "B" * 87}}, {"web_push.p256dh"}),
    "a long secret": ({**WEB, "web_push": {**KEYS, "auth": "A" * 24}}, {"web_push.auth"}),
    "an endpoint of 5 KB": ({**WEB, "token": f"{ENDPOINT}/{'x' * 5_120}"}, {"token"}),
    "a token as a browser": ({**WEB, "token": "t"}, {"token"}),
    "an endpoint without TLS": ({**WEB, "token": ENDPOINT.replace("https", "http")}, {"token"}),
    "an endpoint anywhere": ({**WEB, "token": "https://heron.example/push"}, {"token"}),
    "an endpoint inside": ({**WEB, "token": "https://169.254.169.254/latest"}, {"token"}),
    "an endpoint at the store": ({**WEB, "token": "http://127.0.0.1:27017/"}, {"token"}),
    "all at once": (
        {**WEB, "token": "t", "time_zone": "Mars", "web_push": {**KEYS, "auth": "A"}},
        {"token", "time_zone", "web_push.auth"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "named"), BAD.values(), ids=BAD)
async def test_none(people: People, body: dict[str, Any], named: set[str]) -> None:
    person = people.stranger()
    answer = await person.caller.post(devices(person), body)
    assert answer.status == 400
    assert answer.problem.violations.keys() == named
    assert (await person.caller.get(devices(person))).ok["devices"] == []


async def test_what_is_left_out_is_forgotten(people: People) -> None:
    person = people.stranger()
    token = f"{DEVICE_PREFIX}{person.user_id}"
    full = {"token": token, "kind": "fid", "platform": "ios", "locale": "pt-BR", "time_zone": "Asia/Tokyo"}
    first = (await person.caller.post(devices(person), full)).ok["device"]
    assert (first["kind"], first["platform"], first["locale"], first["time_zone"]) == (
        "FID", "IOS", "pt-BR", "Asia/Tokyo",
    )  # fmt: skip
    second = (await person.caller.post(devices(person), {"token": token})).ok["device"]
    assert (second["kind"], second["platform"], second["locale"], second["time_zone"]) == (
        "TOKEN", "PLATFORM_UNSPECIFIED", "", "",
    )  # fmt: skip
    assert (second["device_id"], second["create_time"]) == (first["device_id"], first["create_time"])
    assert (await person.caller.get(devices(person))).ok["devices"] == [second]
    assert token not in str(second)


async def test_a_person_has_no_more_than_twenty(people: People) -> None:
    person = people.stranger()
    tokens = [f"{DEVICE_PREFIX}{n}-{person.user_id}" for n in range(21)]
    ids = [
        (await person.caller.post(devices(person), {"token": one})).ok["device"]["device_id"]
        for one in tokens
    ]
    kept = (await person.caller.get(devices(person))).ok["devices"]
    assert [one["device_id"] for one in kept] == ids[:0:-1]


async def test_each_device_gets_it(feed: Caller, people: People, ledger: Ledger) -> None:
    person = await people.new()
    fid = f"{DEVICE_PREFIX}fid-{person.user_id}"
    assert (await person.caller.post(devices(person), {"token": fid, "kind": "fid"})).status == 200
    effects = await ledger.effects(await feed.send("push", user_id=person.user_id, data=data()), 2)
    assert {effect["recipient"] for effect in effects} == {person.device_token, fid}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        pytest.param({"web_push": KEYS}, {"web_push"}, id="keys on a token"),
        pytest.param({**WEB, "token": "https://heron.example/push"}, {"token"}, id="an endpoint anywhere"),
        pytest.param({"collapse_key": "a b"}, {"collapse_key"}, id="a collapse key in two words"),
    ],
)
async def test_nothing_is_sent_to_what_is_none(feed: Caller, more: dict[str, Any], named: set[str]) -> None:
    body = {"token": f"{DEVICE_PREFIX}{secrets.token_hex(6)}", "data": data(), **more}
    body.pop("platform", None)
    answer = await feed.post("/api/v1/push:send", body)
    assert answer.status == 400
    assert answer.problem.violations.keys() == named


async def subscribed(ledger: Ledger) -> dict[str, Any]:
    """A browser that has subscribed at the sandbox's push service, as it registers."""
    async with ledger.http.post(f"{ledger.url}/web-push/subscriptions") as answer:
        subscription = await answer.json()
    return {**WEB, "token": subscription["endpoint"], "web_push": subscription["keys"]}


async def test_a_browser_gets_it_beside_the_app(feed: Caller, people: People, ledger: Ledger) -> None:
    person, browser = await people.new(), await subscribed(ledger)
    assert (await person.caller.post(devices(person), browser)).status == 200
    sent = await feed.send("push", user_id=person.user_id, data=data())
    effects = {effect["recipient"]: effect for effect in await ledger.effects(sent, 2)}
    assert effects.keys() == {person.device_token, browser["token"]}
    # The sandbox holds the browser's keys, and has read it.
    assert effects[browser["token"]]["title"] == data()["title"]


async def test_a_browser_that_has_unsubscribed_is_forgotten(
    feed: Caller, people: People, ledger: Ledger
) -> None:
    person, browser = people.stranger(), await subscribed(ledger)
    assert (await person.caller.post(devices(person), browser)).status == 200
    assert (await ledger.http.delete(browser["token"])).status == 200
    delivery = await feed.outcome(await feed.send("push", user_id=person.user_id, data=data()))
    assert (delivery["state"], delivery["attempts"], delivery["reason"]) == ("FAILED", 1, "UNREGISTERED: 410")
    assert (await person.caller.get(devices(person))).ok["devices"] == []


async def test_a_browser_now(feed: Caller, ledger: Ledger) -> None:
    body = {**await subscribed(ledger), "data": data()}
    body.pop("platform")
    receipt = (await feed.post("/api/v1/push:send", body)).ok["receipt"]
    (effect,) = await ledger.entries(delivery_id=receipt["delivery_id"])
    assert (effect["recipient"], effect["message_id"]) == (body["token"], receipt["provider_message_id"])


async def test_an_installation_id_now(feed: Caller, ledger: Ledger) -> None:
    fid = f"{DEVICE_PREFIX}{secrets.token_hex(6)}"
    body = {"token": fid, "kind": "fid", "data": data(), "collapse_key": "score"}
    receipt = (await feed.post("/api/v1/push:send", body)).ok["receipt"]
    assert receipt["state"] == "DELIVERED_TO_PROVIDER"
    (effect,) = await ledger.entries(delivery_id=receipt["delivery_id"])
    assert effect["recipient"] == fid
