"""What ingest answers from the store: history, overview, preferences, contacts."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from crown import ids
from crown.choices import NOTHING, Choices, why_not
from crown.clock import now
from crown.errors import InvalidRequest
from crown.notification.v1 import contact_service_pb2, preference_service_pb2
from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest, ListNotificationsResponse
from crown.notification.v1.preference_service_pb2 import (
    GetNotificationPreferencesRequest,
    UpdateNotificationPreferencesRequest,
)
from crown.notification.v1.types_pb2 import Channel, DeliveryState, DeviceKind, NotificationStatus, Platform
from crown.people import People
from crown.preferences import Preferences
from crown.recipients import Device, Recipients
from services.ingest.contacts import ContactService
from services.ingest.inbox import listing
from services.ingest.inbox.service import InboxService
from services.ingest.intake.keys import KeyBook
from services.ingest.overview import Overview
from services.ingest.preferences.service import PreferenceService
from tests.integration.local import Local
from tests.integration.rig import Rig


async def history(local: Local, person: str, **given: Any) -> ListNotificationsResponse:
    service = InboxService(local.bus, local.db, local.data_key)
    return await service.ListNotifications(ListNotificationsRequest(user_id=person, **given), None)


async def told(local: Local, count: int, **given: Any) -> tuple[str, list[str]]:
    """A person who was told this much; the ids, newest first."""
    person = local.somebody()
    found = [
        await local.send(user_id=person, type="IN_APP", data={"title": f"{n}"}, **given) for n in range(count)
    ]
    async with local.dispatching():
        await local.dispatched()
    return person, found[::-1]


# -- history


async def test_history_is_newest_first_and_whole(local: Local) -> None:
    person, expected = await told(local, 25)
    await told(local, 3)  # somebody else
    first = await history(local, person)
    assert (first.page, first.limit, first.total) == (1, 20, 25)
    assert [entry.notification_id for entry in first.notifications] == expected[:20]
    assert [entry.data.title for entry in first.notifications] == [f"{n}" for n in range(24, 4, -1)]
    second = await history(local, person, page=2)
    assert [entry.notification_id for entry in second.notifications] == expected[20:]
    assert (second.page, second.total, second.next_cursor) == (2, 25, "")
    assert list((await history(local, person, page=3)).notifications) == []


@pytest.mark.parametrize("limit", [1, 7, 24, 25, 100])
async def test_a_cursor_walks_through_all_of_it(local: Local, limit: int) -> None:
    person, expected = await told(local, 25)
    answer = await history(local, person, limit=limit)
    seen = [entry.notification_id for entry in answer.notifications]
    while answer.next_cursor:
        answer = await history(local, person, limit=limit, cursor=answer.next_cursor)
        assert (answer.page, answer.total) == (0, 25)
        seen += [entry.notification_id for entry in answer.notifications]
    assert seen == expected


async def test_what_comes_meanwhile_moves_nothing(local: Local) -> None:
    person, expected = await told(local, 10)
    first = await history(local, person, limit=5)
    await local.send(user_id=person, type="IN_APP")
    async with local.dispatching():
        await local.dispatched()
    second = await history(local, person, limit=5, cursor=first.next_cursor)
    assert [entry.notification_id for entry in (*first.notifications, *second.notifications)] == expected


async def test_what_was_sent_in_one_millisecond_is_walked_through_too(local: Local) -> None:
    person, _ = await told(local, 12)
    await local.db.ledger.update_many({"user_id": person}, {"$set": {"create_time": now()}})
    seen: list[str] = []
    cursor = ""
    while True:
        answer = await history(local, person, limit=5, cursor=cursor)
        seen += [entry.notification_id for entry in answer.notifications]
        cursor = answer.next_cursor
        if not cursor:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 12


async def test_what_was_deleted_is_not_shown(local: Local) -> None:
    person, expected = await told(local, 3)
    await local.db.ledger.update_one(
        {"notification_id": expected[1]}, {"$set": {"delete_time": now(), "shelf": "deleted"}}
    )
    answer = await history(local, person)
    assert [entry.notification_id for entry in answer.notifications] == [expected[0], expected[2]]
    assert answer.total == 2


async def test_an_entry_says_what_became_of_it(local: Local) -> None:
    person = local.somebody()
    await Preferences(local.db).replace(person, Choices({"social": {"sms": False}}))
    await local.send(
        user_id=person, channels=["SMS", "IN_APP"], kind="follow", data={"title": "x", "message": "y"}
    )
    async with local.dispatching():
        await local.dispatched()
    (entry,) = (await history(local, person)).notifications
    assert (entry.type, list(entry.channels), entry.kind) == (
        Channel.SMS,
        [Channel.SMS, Channel.IN_APP],
        "follow",
    )
    assert (entry.data.title, entry.data.message) == ("x", "y")
    assert abs(entry.create_time.ToSeconds() - time.time()) < 60
    assert not entry.HasField("read_time")
    states = {delivery.channel: (delivery.state, delivery.reason) for delivery in entry.deliveries}
    assert states == {
        Channel.SMS: (DeliveryState.SUPPRESSED, "PREFERENCE_OFF"),
        Channel.IN_APP: (DeliveryState.DELIVERED, ""),
    }


async def test_what_was_erased_is_empty(local: Local) -> None:
    person, _ = await told(local, 2)
    await local.db.people.delete_one({"_id": person})
    answer = await history(local, person)
    assert [entry.data.ByteSize() for entry in answer.notifications] == [0, 0]
    await People(local.db, local.data_key).keys_or_new([person])
    answer = await history(local, person)
    assert [entry.data.ByteSize() for entry in answer.notifications] == [0, 0]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "MTow", "page": 1}, "cursor"),
        ({"page": 501, "limit": 20}, "page"),
        ({"page": 10_000, "limit": 100}, "page"),
    ],
)
async def test_a_place_that_there_is_not(local: Local, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await history(local, "user1", **given)
    assert [violation.field for violation in caught.value.violations] == [field]


async def test_nobody_has_nothing(local: Local) -> None:
    answer = await history(local, "nobody")
    assert (list(answer.notifications), answer.total, answer.next_cursor) == ([], 0, "")


async def test_the_total_is_exact_up_to_its_bound(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "COUNTED_MOST", 40)
    person, _ = await told(local, 45)
    assert (await history(local, person)).total == 40
    assert len((await history(local, person, page=2)).notifications) == 20
    with pytest.raises(InvalidRequest):
        await history(local, person, page=3)


# -- overview


@pytest.fixture
def overview(local: Local, rig: Rig) -> Overview:
    return Overview(local.db, KeyBook(rig.redis, local.db))


async def test_an_overview_follows_a_notification_to_its_end(local: Local, overview: Overview) -> None:
    people = [local.somebody() for _ in range(3)]
    notification_id = await local.send(user_ids=people, channels=["PUSH", "IN_APP"], kind="comment")
    async with local.dispatching():
        # Asked at once, it waits for dispatch.
        found = await overview.find(notification_id)
        assert found is not None
        await local.dispatched()
    found = await overview.find(notification_id)
    assert found is not None
    assert (found.status, found.recipient_count, found.sender) == (NotificationStatus.IN_PROGRESS, 3, "feed")
    assert [(one.user_id, one.channel) for one in found.deliveries] == [
        (person, channel) for person in people for channel in (Channel.PUSH, Channel.IN_APP)
    ]
    done = {"$set": {"deliveries.push.state": DeliveryState.FAILED, "open": []}}
    await local.db.ledger.update_many({"notification_id": notification_id}, done)
    found = await overview.find(notification_id)
    assert found is not None
    assert found.status == NotificationStatus.DONE


async def test_a_part_that_is_not_dispatched_keeps_it_open(local: Local, overview: Overview) -> None:
    accepted = local.accepted(user_ids=[f"part-{n}" for n in range(1_500)], type="IN_APP")
    notification_id = await local.put(accepted)
    async with local.dispatching():
        await local.dispatched()
    found = await overview.find(notification_id)
    assert found is not None
    assert (found.status, len(found.deliveries)) == (NotificationStatus.DONE, 1_000)
    await local.db.ledger.delete_one({"_id": f"{notification_id}/part-1499"})
    found = await overview.find(notification_id)
    assert found is not None
    assert found.status == NotificationStatus.IN_PROGRESS


async def test_what_nobody_knows_is_none_and_soon(overview: Overview) -> None:
    began = time.monotonic()
    assert await overview.find("018f0000-0000-7000-8000-000000000000") is None
    assert await overview.find(ids.keyed_notification("feed", "SendNotification", "never used", 0)) is None
    assert time.monotonic() - began < 1


# -- preferences


async def test_preferences_that_were_got_can_be_put_back(local: Local) -> None:
    service = PreferenceService(local.db)
    person = local.somebody()
    got = await service.GetNotificationPreferences(GetNotificationPreferencesRequest(user_id=person), None)
    assert not got.HasField("update_time")
    for category, channels in got.categories.items():
        for field in channels.DESCRIPTOR.fields:
            assert getattr(channels, field.name) == (not why_not(NOTHING, category, field.name))
    request = UpdateNotificationPreferencesRequest(user_id=person)
    request.preferences.MergeFromString(got.SerializeToString())
    put = await service.UpdateNotificationPreferences(request, None)
    assert put.categories == got.categories
    assert put.HasField("update_time")
    again = await service.GetNotificationPreferences(GetNotificationPreferencesRequest(user_id=person), None)
    assert again == preference_service_pb2.GetNotificationPreferencesResponse.FromString(
        put.SerializeToString()
    )


async def test_a_put_replaces_all_of_it(local: Local) -> None:
    service = PreferenceService(local.db)
    person = local.somebody()
    for channel in ("push", "email"):
        request = UpdateNotificationPreferencesRequest(user_id=person)
        setattr(request.preferences.categories["social"], channel, False)
        put = await service.UpdateNotificationPreferences(request, None)
        assert getattr(put.categories["social"], channel) is False
    assert put.categories["social"].push is True
    assert (await Preferences(local.db).get(person)).choices.categories == {"social": {"email": False}}


# -- contacts


async def test_a_contact_is_kept_and_forgotten(local: Local) -> None:
    service = ContactService(Recipients(local.db, People(local.db, local.data_key)))
    person = local.somebody()
    pb = contact_service_pb2
    assert (await service.GetContact(pb.GetContactRequest(user_id=person), None)).email == ""
    request = pb.UpdateContactRequest(user_id=person)
    request.contact.email = "Ann@EXAMPLE.org"
    request.contact.phone = "+14155550123"
    request.contact.locale = "pt-BR"
    request.contact.time_zone = "America/Sao_Paulo"
    assert service.checks()["UpdateContact"](request) == []
    put = await service.UpdateContact(request, None)
    assert (put.email, put.phone, put.locale) == ("Ann@example.org", "+14155550123", "pt-BR")
    got = await service.GetContact(pb.GetContactRequest(user_id=person), None)
    assert got == pb.GetContactResponse.FromString(put.SerializeToString())

    request.contact.ClearField("phone")
    put = await service.UpdateContact(request, None)
    assert (put.email, put.phone) == ("Ann@example.org", "")
    await local.db.people.delete_one({"_id": person})
    assert (await service.GetContact(pb.GetContactRequest(user_id=person), None)).email == ""


async def test_a_wrong_contact_is_told_by_field(local: Local) -> None:
    service = ContactService(Recipients(local.db, People(local.db, local.data_key)))
    request = contact_service_pb2.UpdateContactRequest(user_id="u")
    request.contact.email = "a@b.org, c@d.org"
    request.contact.phone = "+999"
    request.contact.time_zone = "Mars/Base"
    found = {violation.field for violation in service.checks()["UpdateContact"](request)}
    assert found == {"contact.email", "contact.phone", "contact.time_zone"}


# -- devices


async def test_a_device_belongs_to_who_registered_it_last(local: Local) -> None:
    recipients = Recipients(local.db, People(local.db, local.data_key))
    ann, bob = local.somebody(), local.somebody()

    def device(person: str, number: int = 0, age_s: int = 0) -> Device:
        token = f"{ann}-token-{number}"
        moment = now() - timedelta(seconds=age_s)
        return Device(ids.device(token), person, token, DeviceKind.TOKEN, Platform.IOS, moment, moment)

    await recipients.put_device(device(ann))
    await recipients.put_device(device(bob))
    assert await recipients.devices(ann) == []
    assert [found.token for found in await recipients.devices(bob)] == [f"{ann}-token-0"]
    await recipients.delete_device(ann, device(bob).id)
    assert len(await recipients.devices(bob)) == 1

    for number in range(25):
        await recipients.put_device(device(ann, number + 1, age_s=100 - number))
    tokens = [found.token for found in await recipients.devices(ann)]
    assert tokens == [f"{ann}-token-{number}" for number in range(25, 5, -1)]
    places = (await recipients.destinations(Channel.PUSH, [ann, bob]))[ann]
    assert sorted(place.address for place in places) == sorted(tokens)
    await recipients.forget_devices([device(ann, 25).id])
    assert len(await recipients.devices(ann)) == 19
