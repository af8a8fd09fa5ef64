"""A service whose token is for some categories: what it sends of others is refused, however it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from crown.notification.v1.ingest_service_pb2 import (
    SendNotificationRequest,
    StreamItem,
    StreamNotificationsRequest,
)
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.e2e.people import DEVICE_PREFIX, MAIL_DOMAIN, PHONE_PREFIX, TITLE, People, data
from tests.e2e.rest import BULK, Caller, Rest
from tests.trust import matrix

SURFACE = "categories of a token"
NEEDS = "the scope notifications.send:security"
# What is of the category, and what is not, whatever else it says.
OURS: list[dict[str, Any]] = [
    {"kind": "follow"},
    {"category": "SOCIAL"},
    {"kind": "follow", "everyone": True},
]
FOREIGN: list[dict[str, Any]] = [
    {"kind": "login_alert"},
    {"category": "SECURITY"},
    {"kind": "login_alert", "category": "SOCIAL"},
    {"category": "SOCIAL", "template_id": "password_change"},
    {"kind": "login_alert", "everyone": True},
    {"kind": "login_alert", "group_ids": ["g"]},
    {"kind": "follow", "priority": "CRITICAL"},
    {"kind": "follow", "priority": "CRITICAL", "everyone": True},
]


@pytest.fixture
def social(rest: Rest) -> Caller:
    """The service that may send what is social, and no more."""
    return rest.service("social-feed", "notifications.send:social")


def body(people: People, given: dict[str, Any]) -> dict[str, Any]:
    """A notification with these fields, for somebody where they name nobody."""
    whom = {} if {"everyone", "group_ids"} & given.keys() else {"user_id": people.stranger().user_id}
    kind = {} if "everyone" in given else {"type": "in_app"}
    return {**kind, **whom, "data": data(), **given}


async def test_one_at_a_time(social: Caller, people: People) -> None:
    for given in OURS:
        answer = await social.try_send(body(people, given))
        matrix.check(SURFACE, answer.status, 200, given, answer)
    for given in FOREIGN:
        answer = await social.try_send(body(people, given))
        matrix.check(SURFACE, (answer.status, answer.problem.reason), (403, "NOT_ALLOWED"), given)
        assert answer.problem.metadata["needs"] == NEEDS


async def test_a_bulk_is_judged_one_by_one(social: Caller, people: People) -> None:
    wanted = [*(dict(given) for given in OURS), *FOREIGN]
    answer = (await social.post(BULK, {"notifications": [body(people, given) for given in wanted]})).ok
    for given, result in zip(wanted, answer["results"], strict=True):
        accepted = result.get("status") == "ACCEPTED"
        matrix.check(SURFACE, accepted, given in OURS, given, result)
        assert accepted or result["error"]["code"] == 7


async def test_so_is_a_stream(social: Caller, channel: grpc.aio.Channel, people: People) -> None:
    def item(kind: str) -> StreamItem:
        found = SendNotificationRequest(user_id=people.stranger().user_id, kind=kind)
        found.data.title = TITLE
        return StreamItem(item_id=kind, notification=found)

    async def requests() -> AsyncIterator[StreamNotificationsRequest]:
        yield StreamNotificationsRequest(items=[item("follow"), item("login_alert"), item("follow")])
        yield StreamNotificationsRequest(items=[item("password_change")])

    call = IngestServiceStub(channel).StreamNotifications(requests(), metadata=social.metadata, timeout=10)
    results = [result async for answer in call for result in answer.results]
    for result, kind in zip(results, ("follow", "login_alert", "follow", "password_change"), strict=True):
        matrix.check(SURFACE, result.HasField("error"), kind != "follow", kind, result)
        assert result.error.code in (0, 7)


async def test_nothing_is_sent_by_a_schedule_either(rest: Rest, social: Caller, people: People) -> None:
    def schedule(kind: str) -> dict[str, Any]:
        return {"cron": "0 9 * * *", "notification": body(people, {"kind": kind})}

    path = "/api/v1/schedules"
    refused = await social.post(path, schedule("login_alert"))
    matrix.check(SURFACE, refused.status, 403, refused)
    made = (await social.post(path, schedule("follow"))).ok["schedule"]["schedule_id"]
    changed = await social.put(f"{path}/{made}", schedule("login_alert"))
    matrix.check(SURFACE, changed.status, 403, changed)
    # One that the same service made with a token for everything.
    whole = rest.service("social-feed", "notifications.send")
    other = (await whole.post(path, schedule("login_alert"))).ok["schedule"]["schedule_id"]
    for verb in ("run", "resume"):
        answer = await social.post(f"{path}/{other}:{verb}", {})
        matrix.check(SURFACE, answer.status, 403, verb, answer)
    # Stopping it sends nothing.
    assert (await social.post(f"{path}/{other}:pause", {})).status == 200
    for one in (made, other):
        assert (await social.request("DELETE", f"{path}/{one}")).status == 200


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/api/v1/email:send", {"to": f"direct@{MAIL_DOMAIN}"}),
        ("/api/v1/push:send", {"token": f"{DEVICE_PREFIX}direct"}),
        ("/api/v1/sms:send", {"to": f"{PHONE_PREFIX}9871"}),
        ("/api/v1/users/nobody/events", {"event": "alarm", "payload": {}}),
    ],
)
async def test_what_is_of_no_category_is_no_way_around(rest: Rest, path: str, given: dict[str, Any]) -> None:
    sent = given if "event" in given else {**given, "data": data()}
    for scopes, status in (
        (["notifications.send:social"], 403),
        (["channels.send", "realtime.publish", "notifications.send:social"], 403),
        (["channels.send", "realtime.publish", "notifications.send"], 200),
        (["channels.send", "realtime.publish"], 200),
    ):
        answer = await rest.service("social-feed", *scopes).post(path, sent)
        matrix.check(SURFACE, answer.status, status, path, scopes, answer)


async def test_a_token_for_no_category_sends_nothing(rest: Rest, people: People) -> None:
    for scope in (
        "notifications.send:",
        "notifications.send:SOCIAL",
        "notifications.sendx",
        "inbox.read:social",
    ):
        answer = await rest.service("social-feed", scope).try_send(body(people, {"kind": "follow"}))
        matrix.check(SURFACE, answer.status, 403, scope, answer)
