"""Requests that can be read but break rules: every violation in one answer, over REST and gRPC alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.e2e.people import People, data
from tests.e2e.remarks import violations
from tests.e2e.rest import BULK, Caller

GOOD: dict[str, Any] = {"type": "IN_APP", "user_id": "heron", "data": {"title": "Heron"}}
MOST_PEOPLE = 10_000


def but(**fields: Any) -> dict[str, Any]:
    """A good request with these fields; None takes one away."""
    return {name: value for name, value in {**GOOD, **fields}.items() if value is not None}


def saying(**fields: Any) -> dict[str, Any]:
    """A good request that says this as well."""
    return but(data={**GOOD["data"], **fields})


YEARS, DAY = timedelta(days=3650), timedelta(days=1)
BAD: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nobody": (but(user_id=None), {"user_id"}),
    "one and many": (but(user_ids=["u1"]), {"user_id"}),
    "too many": (but(user_id=None, user_ids=[f"u{n}" for n in range(MOST_PEOPLE + 1)]), {"user_ids"}),
    "twice the same": (but(user_id=None, user_ids=["u1", "u1"]), {"user_ids"}),
    "no id": (but(user_id="a b"), {"user_id"}),
    "wild id": (but(user_id="*"), {"user_id"}),
    "id from the root": (but(user_id="../x"), {"user_id"}),
    "long id": (but(user_id="u" * 129), {"user_id"}),
    "one bad of many": (but(user_id=None, user_ids=["u1", ">", "u2"]), {"user_ids[1]"}),
    "no data": (but(data=None), {"data"}),
    "nothing to say": (but(data={}), {"data"}),
    "only a link": (but(data={"action_url": "/x"}), {"data"}),
    "long title": (saying(title="x" * 201), {"data.title"}),
    "two lines of title": (saying(title="a\nb"), {"data.title"}),
    "long message": (saying(message="x" * 8_001), {"data.message"}),
    "control characters": (saying(message="a\0b"), {"data.message"}),
    "large data": (saying(extra={"x": "x" * (16 << 10)}), {"data"}),
    "expired": (but(expires_at="2001-01-01T00:00:00Z"), {"expires_at"}),
    "unknown kind": (but(kind="lunch"), {"kind"}),
    "kind in capitals": (but(kind="LIKE"), {"kind"}),
    "type and channels": (but(channels=["PUSH"]), {"channels"}),
    "channel twice": (but(type=None, channels=["PUSH", "PUSH"]), {"channels"}),
    "no channel": (but(type=None, channels=["CHANNEL_UNSPECIFIED"]), {"channels[0]"}),
    "address for many": (but(user_id=None, user_ids=["u1"], address={"email": "a@heron.example"}), {"address"}),
    "no phone": (but(address={"phone": "0123"}), {"address.phone"}),
    "two devices alike": (but(address={"device_tokens": ["a", "a"]}), {"address.device_tokens"}),
    "many devices": (but(address={"device_tokens": [str(n) for n in range(21)]}), {"address.device_tokens"}),
    "key with a space": (but(idempotency_key="a b"), {"idempotency_key"}),
    "long key": (but(idempotency_key="k" * 256), {"idempotency_key"}),
    "priority that there is not": (but(priority=9), {"priority"}),
    "in ten years": (but(send_at=(datetime.now(UTC) + YEARS).isoformat()), {"send_at"}),
    "over before it is sent": (
        but(send_at=(datetime.now(UTC) + DAY).isoformat(), expires_at=(datetime.now(UTC) + DAY / 2).isoformat()),
        {"expires_at"},
    ),
    "no such time of day": (but(local_time="24:00"), {"local_time"}),
    "many groups": (but(user_id=None, group_ids=[f"g{n}" for n in range(21)]), {"group_ids"}),
    "a person and a group": (but(group_ids=["g1"]), {"user_id"}),
    "left out of no group": (but(exclude_user_ids=["u1"]), {"exclude_user_ids"}),
    "everyone by mail": (but(user_id=None, everyone=True, type="EMAIL"), {"everyone"}),
    "escalated twice the same way": (but(escalations=[{"channel": "SMS", "after": "600s"}] * 2), {"escalations"}),
    "escalated at once": (but(escalations=[{"channel": "SMS", "after": "0s"}]), {"escalations[0].after"}),
    "done by nobody": (but(actor={}), {"actor"}),
    "long group key": (but(group_key="k" * 129), {"group_key"}),
    "everything": (
        {
            "user_id": " ", "user_ids": ["u1", "u1"], "channels": ["SMS", "SMS"], "kind": "?",
            "expires_at": "2001-01-01T00:00:00Z", "idempotency_key": " ", "address": {"phone": "1"},
            "data": {"title": "a\nb", "message": "\0", "action_url": "javascript:x", "image_url": "x"},
        },
        {
            "user_id", "user_ids", "channels", "kind", "expires_at", "idempotency_key",
            "address.phone", "data.title", "data.message", "data.action_url", "data.image_url",
        },
    ),
}  # fmt: skip
every_bad = pytest.mark.parametrize("name", BAD)


@every_bad
async def test_rest_names_each_field(feed: Caller, name: str) -> None:
    body, fields = BAD[name]
    problem = (await feed.try_send(body)).problem
    assert (problem.status, problem.code, problem.reason) == (400, 3, "INVALID_REQUEST")
    assert problem.violations.keys() >= fields
    assert all(problem.violations.values())


@every_bad
async def test_grpc_says_the_same(feed: Caller, channel: grpc.aio.Channel, name: str) -> None:
    body, _ = BAD[name]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await IngestServiceStub(channel).SendNotification(
            ParseDict(body, SendNotificationRequest()), metadata=feed.metadata, timeout=10
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violations(caught.value) == (await feed.try_send(body)).problem.violations


FINE: dict[str, dict[str, Any]] = {
    "long title": saying(title="x" * 200),
    "long message": saying(message="x" * 8_000),
    "only a message": but(data={"message": "Heron"}),
    "ten years": but(expires_at=(datetime.now(UTC) + YEARS).isoformat()),
    "all people": but(user_id=None, user_ids=[f"u{n}" for n in range(MOST_PEOPLE)]),
    "odd id": but(user_id="a.b_c~d@e|f:g+h=i-j"),
    "long id": but(user_id="u" * 128),
    "large data": saying(extra={"x": "x" * (16_000)}),
    "in a year": but(send_at=(datetime.now(UTC) + 364 * DAY).isoformat(), local_time="23:59"),
    "all about it": but(
        group_key="k" * 128, actor={"name": "Ann"}, escalations=[{"channel": "SMS", "after": "600s"}]
    ),
    "all channels": but(type=None, channels=["REAL_TIME", "PUSH", "EMAIL", "SMS", "IN_APP"]),
}


@pytest.mark.parametrize("body", FINE.values(), ids=FINE)
async def test_what_is_at_the_bound_is_fine(feed: Caller, body: dict[str, Any]) -> None:
    assert (await feed.try_send(body)).status == 200


# -- links

GOOD_LINKS = ["/", "/messages/123", "/a?b=c&d=%20#e", "/%2F%2Fevil.example", "https://crown.example/x",
    "HTTPS://CROWN.EXAMPLE/", "https://app.crown.example:443/"]  # fmt: skip
BAD_LINKS = [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "data:text/html,x", "vbscript:x",
    "file:///etc/passwd", "http://crown.example/", "https://evil.example/", "//evil.example", "/\\evil.example",
    "\\\\evil.example", "/\t/evil.example", "https:evil.example", "https:/evil.example", "https:///evil.example",
    "https://crown.example@evil.example/", "https://crown.example\\@evil.example/", "https://evil.example#@crown.example",
    "https://crown.example.evil.example/", "https://evilcrown.example/", "https://crown.example:8443/",
    "https://[::1]/", "https://127.0.0.1/", "https://2130706433/", "https://cr\u043ewn.example/", "https://xn--crwn-5na.example/",
    " /messages", "/mess ages", "/messages\n", "messages/123", "?x=1", "#x", "ftp://crown.example/", "https://",
    "/\u200bx", "/\u2028x", "https://crown.example/\u00a0",
]  # fmt: skip


@pytest.mark.parametrize("link", GOOD_LINKS)
async def test_links_that_lead_home(feed: Caller, link: str) -> None:
    assert (await feed.try_send(saying(action_url=link))).status == 200


@pytest.mark.parametrize("link", BAD_LINKS)
async def test_links_that_lead_astray(feed: Caller, link: str) -> None:
    assert (await feed.try_send(saying(action_url=link))).problem.violations.keys() == {"data.action_url"}
    assert (await feed.try_send(saying(image_url=link))).problem.violations.keys() == {"data.image_url"}


# -- bulk


async def test_a_bulk_says_what_became_of_each(feed: Caller, people: People) -> None:
    person = people.stranger()
    good = but(user_id=person.user_id)
    items = [good] * 1_000
    items[500] = BAD["everything"][0]
    results = (await feed.post(BULK, {"notifications": items})).ok["results"]
    assert len(results) == 1_000
    refused = results.pop(500)
    assert {result["status"] for result in results} == {"ACCEPTED"}
    assert len({result["notification_id"] for result in results}) == 999
    assert refused["error"]["code"] == 3
    (bad,) = [d for d in refused["error"]["details"] if d["@type"].endswith("BadRequest")]
    assert {found["field"] for found in bad["field_violations"]} == BAD["everything"][1]


async def test_a_bulk_of_bad_ones(feed: Caller) -> None:
    bodies = [body for body, _ in BAD.values() if len(body.get("user_ids", ())) < MOST_PEOPLE]
    results = (await feed.post(BULK, {"notifications": bodies})).ok["results"]
    assert [result["error"]["code"] for result in results] == [3] * len(bodies)
    assert {result.get("notification_id", "") for result in results} == {""}


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_bulk_of_none_or_too_many(feed: Caller, count: int) -> None:
    problem = (await feed.post(BULK, {"notifications": [GOOD] * count})).problem
    assert problem.code == 3
    assert problem.violations.keys() == {"notifications"}


async def test_a_bulk_for_too_many_people(feed: Caller) -> None:
    half = but(user_id=None, user_ids=[f"u{n}" for n in range(5_001)])
    problem = (await feed.post(BULK, {"notifications": [half, half]})).problem
    assert problem.violations.keys() == {"notifications"}


# -- contacts and devices

BAD_CONTACTS = {
    "no mail": ({"email": "ann"}, "email"),
    "two mails": ({"email": "ann@heron.example, bob@heron.example"}, "email"),
    "a name": ({"email": "Ann <ann@heron.example>"}, "email"),
    "a header": ({"email": "ann@heron.example\r\nBcc: bob@heron.example"}, "email"),
    "long mail": ({"email": "a" * 250 + "@heron.example"}, "email"),
    "no phone": ({"phone": "call me"}, "phone"),
    "short phone": ({"phone": "+1"}, "phone"),
    "no country": ({"phone": "4155550123"}, "phone"),
    "no language": ({"locale": "English"}, "locale"),
    "no zone": ({"time_zone": "Europe/Berln"}, "time_zone"),
    "zone by path": ({"time_zone": "../../etc/passwd"}, "time_zone"),
}  # fmt: skip


@pytest.mark.parametrize(("contact", "field"), BAD_CONTACTS.values(), ids=BAD_CONTACTS)
async def test_contacts_that_are_none(people: People, contact: dict[str, str], field: str) -> None:
    person = people.stranger()
    answer = await person.caller.put(f"/api/v1/users/{person.user_id}/contact", contact)
    assert answer.status == 400
    assert any(name.endswith(field) for name in answer.problem.violations)


async def test_a_contact_is_read_back(people: People) -> None:
    person = people.stranger()
    contact = {
        "email": "ann@heron.example",
        "phone": "+14155550123",
        "locale": "pt-BR",
        "time_zone": "Asia/Tokyo",
    }
    path = f"/api/v1/users/{person.user_id}/contact"
    put = (await person.caller.put(path, contact)).ok
    got = (await person.caller.get(path)).ok
    own = {name: got[name] for name in ("update_time", "etag")}
    assert put == got == {**contact, "user_id": person.user_id, **own}


@pytest.mark.parametrize("token", ["", " ", "a b", "é", "x" * 4097, "a\nb"])
async def test_devices_that_are_none(people: People, token: str) -> None:
    person = people.stranger()
    answer = await person.caller.post(f"/api/v1/users/{person.user_id}/devices", {"token": token})
    assert answer.problem.violations.keys() == {"token"}


async def test_a_device_that_changes_hands(people: People, feed: Caller) -> None:
    first, second = await people.new(), people.stranger()
    await people.add_device(second, first.device_token)
    assert (await first.caller.get(f"/api/v1/users/{first.user_id}/devices")).ok["devices"] == []
    sent = await feed.send("push", user_id=first.user_id, data=data())
    assert (await feed.outcome(sent))["reason"] == "NO_ADDRESS"
