"""Contacts with versions, and PersonService, as callers see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from crown.clock import now
from crown.notification.v1 import contact_service_pb2 as contacts
from crown.notification.v1 import contact_service_pb2_grpc as contacts_grpc
from crown.notification.v1 import inbox_service_pb2, inbox_service_pb2_grpc
from crown.notification.v1 import person_service_pb2 as people
from crown.notification.v1 import person_service_pb2_grpc as people_grpc
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.types_pb2 import (
    Channel,
    DeadLetterState,
    DeviceKind,
    Platform,
    SuppressionReason,
)
from crown.people import People
from crown.recipients import Device, Recipients
from crown.suppressions import Suppressions
from services.ingest.schedules.book import Book, Plan
from tests.integration.api import Api
from tests.integration.local import Local
from tests.integration.rig import Rig, Service, until

ABORTED = grpc.StatusCode.ABORTED


@pytest.fixture(scope="module")
async def api(rig: Rig) -> AsyncIterator[Service]:
    async with rig.running("api") as service:
        yield service


def who(rig: Rig, **given: Any) -> Any:
    return (("authorization", f"Bearer {rig.token(**given)}"),)


class Caller:
    """A service that may change people."""

    def __init__(self, rig: Rig, service: Service) -> None:
        self.metadata = who(rig, service="auth", scopes=["contacts.write", "people.write"])
        self._contacts = contacts_grpc.ContactServiceStub(service.channel)
        self._people = people_grpc.PersonServiceStub(service.channel)

    async def put(self, person: str, **given: Any) -> contacts.UpdateContactResponse:
        request = contacts.UpdateContactRequest(user_id=person, contact=contacts.Contact(**given))
        return await self._contacts.UpdateContact(request, metadata=self.metadata, timeout=10)

    async def get(self, person: str) -> contacts.GetContactResponse:
        request = contacts.GetContactRequest(user_id=person)
        return await self._contacts.GetContact(request, metadata=self.metadata, timeout=10)

    async def erase(self, person: str, metadata: Any = None) -> people.ErasePersonResponse:
        request = people.ErasePersonRequest(user_id=person)
        return await self._people.ErasePerson(request, metadata=metadata or self.metadata, timeout=10)

    async def export(self, person: str, metadata: Any = None) -> list[bytes]:
        request = people.ExportPersonRequest(user_id=person)
        parts = self._people.ExportPerson(request, metadata=metadata or self.metadata, timeout=30)
        return [part.data async for part in parts]


@pytest.fixture
def caller(rig: Rig, api: Service) -> Caller:
    return Caller(rig, api)


async def code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


# -- contacts


async def test_every_change_makes_another_version(caller: Caller, local: Local) -> None:
    person = local.somebody()
    before = await caller.get(person)
    first = await caller.put(person, email="a@heron.example")
    second = await caller.put(person, email="a@heron.example")
    assert len({before.etag, first.etag, second.etag, ""}) == 4
    assert await caller.get(person) == contacts.GetContactResponse(
        user_id=person, email=second.email, update_time=second.update_time, etag=second.etag
    )


async def test_a_stale_etag_changes_nothing(caller: Caller, local: Local) -> None:
    person = local.somebody()
    first = await caller.put(person, email="a@heron.example")
    second = await caller.put(person, email="b@heron.example", etag=first.etag)
    assert await code(caller.put(person, email="c@heron.example", etag=first.etag)) is ABORTED
    assert await caller.get(person) == contacts.GetContactResponse(
        user_id=person, email="b@heron.example", update_time=second.update_time, etag=second.etag
    )
    # Who gives none takes what comes.
    assert (await caller.put(person, email="d@heron.example")).email == "d@heron.example"


@pytest.mark.parametrize("there", [False, True], ids=["not there yet", "there"])
async def test_of_two_at_once_one_wins(caller: Caller, local: Local, there: bool) -> None:
    person = local.somebody()
    if there:
        await caller.put(person, email="a@heron.example")
    etag = (await caller.get(person)).etag
    codes = await asyncio.gather(
        *(code(caller.put(person, email=f"w{n}@heron.example", etag=etag)) for n in range(8))
    )
    assert sorted(codes, key=str) == [ABORTED] * 7 + [grpc.StatusCode.OK]


async def test_a_contact_from_before_there_were_etags(caller: Caller, local: Local) -> None:
    person = local.somebody()
    await caller.put(person, email="a@heron.example")
    await local.db.contacts.update_one({"_id": person}, {"$unset": {"etag": ""}})
    etag = (await caller.get(person)).etag
    assert etag
    await caller.put(person, email="b@heron.example", etag=etag)
    assert await code(caller.put(person, email="c@heron.example", etag=etag)) is ABORTED


async def test_an_etag_does_not_outlive_the_person(caller: Caller, local: Local) -> None:
    person = local.somebody()
    etag = (await caller.put(person, email="a@heron.example")).etag
    await caller.erase(person)
    assert await code(caller.put(person, email="b@heron.example", etag=etag)) is ABORTED


# -- erasing


async def test_when_it_answers_nothing_can_be_seen(
    rig: Rig, api: Service, caller: Caller, local: Local
) -> None:
    person = local.somebody()
    feed = Api(rig, api)
    await caller.put(person, email="a@heron.example")
    async with local.dispatching():
        sent = await feed.send(user_id=person, type="IN_APP", data={"title": "Hello"})
        await local.becomes(sent, "in_app", "DELIVERED")
    mine = who(rig, user=person)
    inbox = inbox_service_pb2_grpc.InboxServiceStub(api.channel)
    count = inbox_service_pb2.GetUnreadCountRequest(user_id=person)
    listing = inbox_service_pb2.ListNotificationsRequest(user_id=person)
    assert (await inbox.GetUnreadCount(count, metadata=mine)).unread_count == 1

    answer = await caller.erase(person, mine)

    assert answer.HasField("erase_time")
    assert (await inbox.GetUnreadCount(count, metadata=mine)).unread_count == 0
    assert list((await inbox.ListNotifications(listing, metadata=mine)).notifications) == []
    assert (await caller.get(person)).email == ""
    # The sender's books are as they were.
    (delivery,) = (await feed.get(sent)).deliveries
    assert delivery.state


async def test_their_sockets_are_told_to_close(caller: Caller, local: Local) -> None:
    person = local.somebody()
    before = await local.messages("REVOKED")
    await caller.erase(person)
    await until(lambda: local.messages("REVOKED"), lambda count: count == before + 1)


@pytest.mark.parametrize(
    "given",
    [
        {"user": "somebody-else"},
        {"service": "feed", "scopes": ["contacts.write"]},
    ],
    ids=["another user", "another scope"],
)
async def test_others_may_not(rig: Rig, caller: Caller, local: Local, given: dict[str, Any]) -> None:
    person = local.somebody()
    metadata = who(rig, **given)
    assert await code(caller.erase(person, metadata)) is grpc.StatusCode.PERMISSION_DENIED
    assert await code(caller.export(person, metadata)) is grpc.StatusCode.PERMISSION_DENIED


# -- exporting


async def test_an_export_has_all_that_there_is(rig: Rig, api: Service, caller: Caller, local: Local) -> None:
    person = local.somebody()
    await caller.put(person, email="a@heron.example", time_zone="Europe/Berlin")
    recipients = Recipients(local.db, People(local.db, local.data_key))
    await recipients.put_device(
        Device("d9", person, "tok", DeviceKind.TOKEN, Platform.IOS, now(), now(), auth="never")
    )
    await local.db.members.insert_one(
        {"_id": f"g/{person}", "group_id": "g", "user_id": person, "join_time": now()}
    )
    await Suppressions(local.db, local.data_key).add(
        Channel.EMAIL, "a@heron.example", SuppressionReason.BOUNCE, "sendgrid"
    )
    feed = Api(rig, api)
    address = {"email": "b@heron.example"}
    async with local.dispatching():
        sent = await feed.send(
            user_id=person, channels=["IN_APP", "EMAIL"], type=None, data={"title": "Hé"}, address=address
        )
        await local.becomes(sent, "in_app", "DELIVERED")
    await local.db.timeline.insert_one(
        {"_id": "t9", "notification_id": sent, "user_id": person, "time": now(), "reason": "E9"}
    )
    await rig.redis.set(f"crown:presence:active:{person}", 1_795_000_000)
    # Beyond 32 bits the store answers a number of a kind of its own.
    await local.db.broadcast_marks.insert_one({"_id": f"m9/{person}", "user_id": person, "place": 1 << 40})
    other = local.somebody()
    title: Any = {"title": "Again"}
    both = SendNotificationRequest(user_ids=[other, person], data=title)
    await Book(local.db, local.data_key).add("s9", "feed", Plan("", "0 9 * * *", "UTC", both), now())
    letter = {"user_id": person, "notification_id": sent, "channel": Channel.SMS, "reason": "GONE"}
    state = {"state": DeadLetterState.OPEN, "create_time": now()}
    await local.db.dead_letters.insert_one({"_id": "l9", **letter, **state})
    found = json.loads(b"".join(await caller.export(person)))
    assert found["last_active_time"] == "2026-11-18T11:06:40Z"
    assert found["broadcast_marks"] == [{"place": 1 << 40}]
    (schedule,) = found["schedules"]
    assert (schedule["schedule_id"], schedule["sender"], schedule["data"]) == ("s9", "feed", title)
    assert other not in json.dumps(found)
    (given_up,) = found["dead_letters"]
    assert (given_up["channel"], given_up["reason"], given_up["state"]) == ("SMS", "GONE", "OPEN")
    assert found["contact"]["email"] == "a@heron.example"
    assert [(device["token"], device["platform"]) for device in found["devices"]] == [("tok", "IOS")]
    assert "never" not in json.dumps(found)
    assert found["groups"][0]["group_id"] == "g"
    assert [(one["address"], one["reason"]) for one in found["suppressions"]] == [
        ("a@heron.example", "BOUNCE")
    ]
    assert found["preferences"]["categories"]
    (notification,) = found["notifications"]
    assert notification["notification_id"] == sent
    assert notification["data"] == {"title": "Hé"}
    assert notification["address"] == address
    assert {one["channel"]: one["state"] for one in notification["deliveries"]} == {
        "IN_APP": "DELIVERED",
        "EMAIL": "PENDING",
    }
    assert [entry["reason"] for entry in notification["timeline"]] == ["E9"]
    assert notification["create_time"].endswith("Z")
    await caller.erase(person)
    (left,) = json.loads(b"".join(await caller.export(person)))["notifications"]
    assert left["data"] == {}


async def test_of_somebody_unknown_it_is_empty(caller: Caller, local: Local) -> None:
    found = json.loads(b"".join(await caller.export(local.somebody())))
    assert found["notifications"] == found["devices"] == found["groups"] == []


async def test_a_long_one_comes_in_parts(caller: Caller, local: Local) -> None:
    """And each is a hundred notifications: memory does not grow with their number."""
    person = local.somebody()
    async with local.dispatching():
        for _ in range(450):
            await local.send(user_id=person, type="IN_APP")
        await local.dispatched()
    parts = await caller.export(person)
    assert len(parts) == 1 + 5 + 1
    assert len(json.loads(b"".join(parts))["notifications"]) == 450
