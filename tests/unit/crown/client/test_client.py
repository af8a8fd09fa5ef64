"""The client against a real server that misbehaves: keys, retries, deadlines, errors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from crown import problem
from crown.client import Client, Contact, bulk
from crown.client.bulk import Sent
from crown.client.calls import Patience, pause_s
from crown.client.draft import draft
from crown.errors import (
    BusUnavailable,
    CrownError,
    InProgress,
    IntakeFull,
    InvalidRequest,
    KeyReused,
    NotAllowed,
    NotFound,
    NotReady,
    OutcomeUnknown,
    TokenMissing,
    TooLarge,
    Unavailable,
    Violation,
)
from crown.notification.v1 import contact_service_pb2 as contacts
from crown.notification.v1 import device_service_pb2 as devices
from crown.notification.v1 import inbox_service_pb2 as inbox
from crown.notification.v1 import ingest_service_pb2 as ingest
from crown.notification.v1 import preference_service_pb2 as preferences
from crown.notification.v1 import realtime_service_pb2 as realtime
from crown.notification.v1.notification_pb2 import InboxEntry, Notification
from crown.notification.v1.preference_pb2 import ChannelPreferences
from crown.notification.v1.types_pb2 import Channel, NotificationStatus
from tests.unit.crown.suite import Break, Hang, Suite

QUICK = Patience(call_s=2.0, attempt_s=0.2)
ACCEPTED = ingest.SendNotificationResponse(notification_id="n1", status=NotificationStatus.ACCEPTED)


@asynccontextmanager
async def client(suite: Suite, **options: Any) -> AsyncIterator[Client]:
    options = {"token": "t", "patience": QUICK, "chance": random.Random(1), **options}
    async with suite.serving() as address, Client(address, **options) as made:
        yield made


async def test_send_says_everything() -> None:
    suite = Suite(ACCEPTED)
    async with client(suite) as to:
        sent = await to.send(
            user_id="ann",
            type="push",
            title="Hello",
            message="There",
            action_url="/a",
            extra={"deep": {"er": [1]}},
            priority="bulk",
            category="system",
            expires_at=datetime(2040, 1, 1, tzinfo=UTC),
        )
    ((method, request, metadata, left_s),) = suite.calls
    assert (sent, method) == ("n1", "SendNotification")
    assert metadata["authorization"] == "Bearer t"
    assert 0 < (left_s or 0) <= QUICK.attempt_s
    assert (request.user_id, request.type, request.data.title) == ("ann", Channel.PUSH, "Hello")
    assert request.data.extra["deep"]["er"][0] == 1
    assert request.expires_at.ToDatetime(tzinfo=UTC).year == 2040
    assert 1 <= len(request.idempotency_key) <= 255


@pytest.mark.parametrize(
    "step", [BusUnavailable("away", retry_after_s=0.0), Break(), Hang(), InProgress("busy")], ids=type
)
async def test_send_repeats_with_the_same_key(step: Any) -> None:
    suite = Suite(step, step, ACCEPTED)
    async with client(suite) as to:
        assert await to.send(user_id="ann", title="Hello") == "n1"
    assert len({request.idempotency_key for request in suite.requests}) == 1
    assert len(suite.calls) == 3


async def test_a_key_of_the_callers_own_is_kept() -> None:
    suite = Suite(Break(), ACCEPTED)
    async with client(suite) as to:
        await to.send(user_id="ann", title="Hello", idempotency_key="order-7")
    assert [request.idempotency_key for request in suite.requests] == ["order-7", "order-7"]


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest.of(
            [Violation("user_id", "is odd", "STRING_PATTERN"), Violation("data", "is missing")]
        ),
        KeyReused("other body", metadata={"notification_id": "n0"}),
        NotAllowed("no"),
        NotFound("none"),
        TooLarge("big"),
        TokenMissing("who?"),
        CrownError("internal error"),
    ],
    ids=type,
)
async def test_a_final_no_is_raised_as_it_was(error: CrownError) -> None:
    suite = Suite(error)
    async with client(suite) as to:
        with pytest.raises(CrownError) as raised:
            await to.send(user_id="ann", title="Hello")
    assert type(raised.value) is type(error)
    assert (raised.value.reason, raised.value.message) == (error.reason, error.message)
    assert raised.value.violations == error.violations
    assert raised.value.metadata == error.metadata
    assert len(suite.calls) == 1


@pytest.mark.parametrize("error", [NotReady("not ready: sms"), IntakeFull("full")], ids=type)
async def test_a_refusal_for_now_keeps_its_class_and_when(error: Unavailable) -> None:
    suite = Suite(error)
    async with client(suite) as to:
        # A second to wait, and less than that to go: no use in waiting.
        with pytest.raises(Unavailable) as raised:
            await to.send(user_id="ann", title="Hello", timeout_s=0.5)
    assert type(raised.value) is type(error)
    assert raised.value.retry_after_s == 1.0
    assert len(suite.calls) == 1


async def test_retry_info_is_obeyed() -> None:
    suite = Suite(IntakeFull("full", retry_after_s=0.4), ACCEPTED)
    async with client(suite) as to:
        began = time.monotonic()
        await to.send(user_id="ann", title="Hello")
    assert time.monotonic() - began >= 0.4


async def test_the_deadline_ends_it_and_the_outcome_is_unknown() -> None:
    suite = Suite(*[Hang()] * 20)
    async with client(suite) as to:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            await to.send(user_id="ann", title="Hello", timeout_s=0.7)
    assert time.monotonic() - began < 1.5
    assert len(suite.calls) >= 2


async def test_a_refusal_after_a_lost_answer_is_still_unknown() -> None:
    suite = Suite(Break(), *[BusUnavailable("away", retry_after_s=0.05)] * 40)
    async with client(suite) as to:
        with pytest.raises(OutcomeUnknown, match=r"Socket closed.*; then: away"):
            await to.send(user_id="ann", title="Hello", timeout_s=0.5)


async def test_nobody_there_means_that_nothing_happened() -> None:
    async with Client("127.0.0.1:1", token="t", patience=QUICK) as to:
        with pytest.raises(Unavailable):
            await to.send(user_id="ann", title="Hello", timeout_s=0.5)


async def test_the_token_source_is_asked_each_time() -> None:
    tokens = iter("abc")

    async def source() -> str:
        await asyncio.sleep(0)
        return next(tokens)

    suite = Suite(BusUnavailable("away", retry_after_s=0.0), ACCEPTED)
    async with client(suite, token="", token_source=source) as to:
        await to.send(user_id="ann", title="Hello")
    assert [metadata["authorization"] for _, _, metadata, _ in suite.calls] == ["Bearer a", "Bearer b"]


async def test_a_token_that_never_comes_is_an_error_in_time() -> None:
    async def source() -> str:
        await asyncio.Event().wait()
        return ""

    suite = Suite()
    async with client(suite, token="", token_source=source) as to:
        with pytest.raises(Unavailable, match="no token"):
            await to.send(user_id="ann", title="Hello", timeout_s=0.3)


async def test_many_answer_one_by_one() -> None:
    broken = InvalidRequest.of([Violation("user_id", "is odd", "STRING_PATTERN")])
    results = [
        ingest.BulkResult(notification_id="n1", status=NotificationStatus.ACCEPTED),
        ingest.BulkResult(error=problem.status(broken)),
    ]
    suite = Suite(Break(), ingest.SendBulkNotificationsResponse(results=results))
    async with client(suite) as to:
        good, bad = await to.send_many([draft(user_id="ann", title="A"), draft(user_id="!", title="B")])
    assert good == Sent("n1")
    assert isinstance(bad.error, InvalidRequest)
    assert bad.error.violations == broken.violations
    assert len({metadata["idempotency-key"] for _, _, metadata, _ in suite.calls}) == 1


async def test_many_go_in_parts_with_keys_of_their_own() -> None:
    count = bulk.ITEMS_MOST + 1
    full = [ingest.BulkResult(notification_id=f"n{number}") for number in range(bulk.ITEMS_MOST)]
    suite = Suite(ingest.SendBulkNotificationsResponse(results=full), NotAllowed("no"))
    async with client(suite) as to:
        sent = await to.send_many(
            (draft(user_id=f"u{number}", title="A") for number in range(count)), idempotency_key="k"
        )
    assert [len(request.notifications) for request in suite.requests] == [bulk.ITEMS_MOST, 1]
    assert [metadata["idempotency-key"] for _, _, metadata, _ in suite.calls] == ["k.0", "k.1000"]
    assert [one.notification_id for one in sent[:2]] == ["n0", "n1"]
    assert isinstance(sent[-1].error, NotAllowed)


def test_parts_hold_no_more_than_a_call_may() -> None:
    people = [f"user{number}" for number in range(6_000)]
    crowds = [draft(user_ids=people, title="A")] * 3
    assert [len(part) for part in bulk.parts(crowds)] == [1, 1, 1]
    long = [draft(user_id="ann", message="x" * 8_000)] * 600
    assert all(sum(item.ByteSize() for item in part) <= bulk.BYTES_MOST for part in bulk.parts(long))
    assert sum(len(part) for part in bulk.parts(long)) == 600
    assert list(bulk.parts([])) == []


async def test_history_follows_the_cursor() -> None:
    pages = [
        inbox.ListNotificationsResponse(notifications=[InboxEntry(notification_id="b")], next_cursor="c"),
        inbox.ListNotificationsResponse(notifications=[InboxEntry(notification_id="a")]),
    ]
    suite = Suite(*pages)
    async with client(suite) as to:
        found = [entry.notification_id async for entry in to.history("ann", page_size=1)]
    assert found == ["b", "a"]
    assert [request.cursor for request in suite.requests] == ["", "c"]
    assert suite.requests[0].limit == 1


async def test_subscribe_yields_until_it_breaks() -> None:
    suite = Suite(realtime.SubscribeResponse(offset=1), realtime.SubscribeResponse(offset=2), Break())
    seen = []
    async with client(suite) as to:
        events = to.subscribe("ann")
        seen += [(await anext(events)).offset, (await anext(events)).offset]
        with pytest.raises(OutcomeUnknown):
            await anext(events)
    assert seen == [1, 2]


async def test_publish_is_not_repeated_where_it_may_have_happened() -> None:
    suite = Suite(BusUnavailable("away", retry_after_s=0.0), Break(), realtime.PublishResponse(offset=1))
    async with client(suite) as to:
        with pytest.raises(OutcomeUnknown):
            await to.publish("ann", "typing", {"who": "bob"})
    assert len(suite.calls) == 2


async def test_people() -> None:
    channels = ChannelPreferences(push=True, email=False)
    suite = Suite(
        preferences.GetNotificationPreferencesResponse(user_id="ann", categories={"social": channels}),
        preferences.PatchNotificationPreferencesResponse(user_id="ann", categories={"social": channels}),
        contacts.GetContactResponse(user_id="ann", email="ann@example.org"),
        contacts.UpdateContactResponse(user_id="ann", email="ann@example.org"),
        devices.RegisterDeviceResponse(device=devices.Device(device_id="d1")),
        devices.ListDevicesResponse(devices=[devices.Device(device_id="d1")]),
        devices.DeleteDeviceResponse(),
        ingest.GetNotificationResponse(notification=Notification(notification_id="n1")),
    )
    async with client(suite) as to:
        found = await to.preferences("ann")
        assert found == {"social": {"push": True, "email": False}}
        assert await to.set_preferences("ann", found) == found
        contact = await to.contact("ann")
        assert contact == Contact(email="ann@example.org")
        assert await to.set_contact("ann", contact) == contact
        assert (await to.register_device("ann", "token")).device_id == "d1"
        assert [device.device_id for device in await to.devices("ann")] == ["d1"]
        await to.delete_device("ann", "d1")
        assert (await to.get("n1")).notification_id == "n1"
    update = next(request for method, request, _, _ in suite.calls if method.startswith("PatchNotif"))
    assert update.update_mask.paths == ["categories"]
    assert update.preferences.categories["social"].HasField("email")
    assert not update.preferences.categories["social"].HasField("sms")


def test_a_draft_with_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(InvalidRequest, match="type: must be one of real_time, push, email, sms, in_app"):
        draft(user_id="ann", title="A", type="fax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time zone"):
        draft(user_id="ann", title="A", expires_at=datetime(2040, 1, 1))  # noqa: DTZ001


def test_pauses_grow_to_two_seconds_and_honour_what_was_asked() -> None:
    class Most(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    pauses = [pause_s(attempt, None, Most()) for attempt in (1, 2, 3, 5, 6, 1_000)]
    assert pauses == [0.1, 0.2, 0.4, 1.6, 2.0, 2.0]
    assert pause_s(1, 3.0, random.Random(1)) >= 3.0
    assert pause_s(1, -3.0, Most()) == 0.1
