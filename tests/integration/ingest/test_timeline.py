"""The story of a notification: in the order of time, page by page, and for whom it is."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from crown import ids, subjects
from crown.bus import Outgoing
from crown.clock import now, timestamp
from crown.errors import InvalidRequest
from crown.ledger import Claim, Ledger, row_id
from crown.notification.v1 import ingest_service_pb2_grpc
from crown.notification.v1.events_pb2 import CallbackEvent, OutcomeEvent
from crown.notification.v1.ingest_service_pb2 import ExplainNotificationRequest
from crown.notification.v1.timeline_pb2 import TimelineEntry
from crown.notification.v1.types_pb2 import CallbackType, Channel, DeliveryState, TimelineEvent
from crown.store import Document
from services.ingest.books.recorder import Recorder
from services.ingest.timeline import Page, Timeline
from tests.integration.local import Local
from tests.integration.rig import Rig, Service, until

PEOPLE = 1_500


@pytest.fixture(scope="module")
async def working(local: Local) -> AsyncIterator[Local]:
    """A dispatcher and a recorder work all the time."""
    async with local.dispatching(), local.working(Recorder(local.bus, local.store).run):
        yield local


def named(entry: TimelineEntry) -> tuple[str, str, str, str]:
    """Event, channel, state and reason."""
    return (
        TimelineEvent.Type.Name(entry.event),
        Channel.Type.Name(entry.channel) if entry.channel else "",
        DeliveryState.Type.Name(entry.state) if entry.state else "",
        entry.reason,
    )


async def story(
    local: Local, notification_id: str, user_id: str = "", limit: int = 200
) -> list[TimelineEntry]:
    """All pages."""
    document = await local.db.notifications.find_one({"_id": notification_id})
    assert document is not None
    found: list[TimelineEntry] = []
    cursor = ""
    while True:
        page: Page = await Timeline(local.db).page(document, user_id, limit, cursor)
        assert len(page.entries) <= limit
        found += page.entries
        if not page.cursor:
            return found
        cursor = page.cursor


async def test_it_is_told_from_the_beginning(working: Local) -> None:
    notification_id = await working.send(channels=["IN_APP", "EMAIL"])
    (row,) = await until(lambda: working.rows(notification_id))
    user_id, email = row["user_id"], row["deliveries"]["email"]["id"]
    await Ledger(working.db).claim(Claim(email, 1, "worker", row["_id"]))
    about: dict[str, Any] = {
        "delivery_id": email,
        "notification_id": notification_id,
        "channel": Channel.EMAIL,
        "provider": "sendgrid",
    }
    tried = OutcomeEvent(
        **about,
        user_id=user_id,
        state=DeliveryState.DELIVERED_TO_PROVIDER,
        attempt=1,
        occur_time=timestamp(now()),
    )
    await working.bus.publish(Outgoing(subjects.event("email"), tried.SerializeToString()))
    told = CallbackEvent(
        **about,
        callback_id="told",
        type=CallbackType.DELIVERED,
        occur_time=timestamp(now() - timedelta(seconds=1)),
        receive_time=timestamp(now() + timedelta(milliseconds=5)),
    )
    await working.bus.publish(Outgoing(subjects.callback("email"), told.SerializeToString()))
    await until(lambda: working.backlog(subjects.recorder()), lambda left: left == 0)
    await working.db.ledger.update_one(
        {"_id": row["_id"]}, {"$set": {"read_time": now() + timedelta(seconds=1)}}
    )
    entries = await story(working, notification_id)
    assert [named(entry) for entry in entries] == [
        ("ACCEPTED", "", "", ""),
        ("DECIDED", "EMAIL", "PENDING", ""),
        ("DECIDED", "IN_APP", "DELIVERED", ""),
        ("ATTEMPTED", "EMAIL", "DELIVERED_TO_PROVIDER", ""),
        ("CALLBACK", "EMAIL", "DELIVERED", ""),
        ("READ", "", "", ""),
    ]
    times = [entry.time.ToDatetime() for entry in entries]
    assert times == sorted(times)
    assert {entry.user_id for entry in entries[1:]} == {user_id}


async def test_what_is_held_back_says_why(working: Local) -> None:
    notification_id = await working.send(channels=["IN_APP", "PUSH"], category="MARKETING")
    await until(lambda: working.rows(notification_id))
    assert [named(entry) for entry in await story(working, notification_id)] == [
        ("ACCEPTED", "", "", ""),
        ("DECIDED", "PUSH", "SUPPRESSED", "CONSENT_MISSING"),
        ("DECIDED", "IN_APP", "DELIVERED", ""),
    ]


async def test_the_decision_stays_what_it_was(working: Local) -> None:
    notification_id = await working.send(type="PUSH")
    (row,) = await until(lambda: working.rows(notification_id))
    at = {"deliveries.push.state": DeliveryState.SUPPRESSED, "deliveries.push.reason": "NO_ADDRESS"}
    await working.db.ledger.update_one({"_id": row["_id"]}, {"$set": at})
    assert [named(entry) for entry in await story(working, notification_id)] == [
        ("ACCEPTED", "", "", ""),
        ("DECIDED", "PUSH", "PENDING", ""),
    ]


# -- many people


@pytest.fixture(scope="module")
async def crowd(local: Local) -> str:
    """A notification for many people, with a long story in which much happens in the same millisecond."""
    chance, began = random.Random(7), now()
    notification_id = ids.fresh_notification()
    await local.db.notifications.insert_one({"_id": notification_id, "sender": "feed", "create_time": began})
    rows: list[Document] = []
    entries: list[Document] = []
    for number in range(PEOPLE):
        user_id = f"p{number}"
        read_time = began + timedelta(milliseconds=chance.randrange(20))
        rows.append(
            {
                "_id": row_id(notification_id, user_id),
                "notification_id": notification_id,
                "user_id": user_id,
                "decide_time": began + timedelta(milliseconds=number // 1_000),
                "deliveries": {
                    name: {"id": ids.delivery(notification_id, user_id, name), "state": 1, "decided": 1}
                    for name in ("push", "email")
                },
                "open": [],
                **({"read_time": read_time} if number % 3 == 0 else {}),
            }
        )
        entries += [
            {
                "_id": f"{ids.delivery(notification_id, user_id, 'push')}:{attempt}:2",
                "notification_id": notification_id,
                "user_id": user_id,
                "time": began + timedelta(milliseconds=chance.randrange(20)),
            }
            for attempt in range(2)
        ]
    await local.db.ledger.insert_many(rows)
    await local.db.timeline.insert_many(entries)
    return notification_id


@pytest.mark.parametrize("limit", [397, 1_000])
async def test_pages_leave_nothing_out_and_repeat_nothing(local: Local, crowd: str, limit: int) -> None:
    found = await story(local, crowd, limit=limit)
    assert len(found) == 1 + PEOPLE * 2 + PEOPLE // 3 + PEOPLE * 2
    assert found == sorted(found, key=lambda entry: entry.time.ToNanoseconds())
    decided = {entry.delivery_id for entry in found if entry.event == TimelineEvent.DECIDED}
    assert len(decided) == PEOPLE * 2
    read = {entry.user_id for entry in found if entry.event == TimelineEvent.READ}
    assert len(read) == PEOPLE // 3


@pytest.mark.parametrize("limit", [1, 2, 200])
async def test_of_one_person(local: Local, crowd: str, limit: int) -> None:
    found = await story(local, crowd, "p3", limit)
    assert [entry.event for entry in found].count(TimelineEvent.ATTEMPTED) == 2
    assert len(found) == 1 + 2 + 2 + 1
    assert {entry.user_id for entry in found} == {"", "p3"}


async def test_a_page_reads_no_further_than_it_goes(local: Local, crowd: str) -> None:
    where = {"notification_id": crowd, "time": {"$gte": now() - timedelta(days=1)}}
    plan = local.db.timeline.find(where).sort([("time", 1), ("_id", 1)]).limit(11)
    assert (await plan.explain())["executionStats"]["totalDocsExamined"] == 11


@pytest.mark.parametrize("cursor", ["x", "bGV0dGVyIDEgYQ==", "=", "c3RvcnkgeCAxIDEgeA=="])
async def test_a_cursor_of_somebody_else_is_refused(local: Local, crowd: str, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await Timeline(local.db).page({"_id": crowd, "create_time": now()}, "", 10, cursor)


# -- who may ask


@pytest.fixture(scope="module")
async def api(rig: Rig, local: Local) -> AsyncIterator[Service]:
    """One replica of the API."""
    del local  # makes the streams
    async with rig.running("api") as service:
        yield service


async def explained(
    service: Service, token: str, notification_id: str, **given: Any
) -> list[TimelineEntry] | grpc.StatusCode:
    stub = ingest_service_pb2_grpc.IngestServiceStub(service.channel)
    try:
        answer = await stub.ExplainNotification(
            ExplainNotificationRequest(notification_id=notification_id, **given),
            metadata=(("authorization", f"Bearer {token}"),),
            timeout=10,
        )
    except grpc.aio.AioRpcError as error:
        return error.code()
    assert bool(answer.next_cursor) == (len(answer.entries) == given.get("limit", 200))
    return list(answer.entries)


async def test_its_sender_and_operators_alone(rig: Rig, api: Service, crowd: str) -> None:
    for token in (rig.token("feed"), rig.stack.token(operator="olga")):
        found = await explained(api, token, crowd, limit=5)
        assert isinstance(found, list)
        assert len(found) == 5
    assert await explained(api, rig.token("chat"), crowd) == grpc.StatusCode.NOT_FOUND
    assert await explained(api, rig.token(user="p3"), crowd) == grpc.StatusCode.PERMISSION_DENIED
    unheard_of = "01a202de-cd68-776b-aacc-66961d5740dd"
    assert await explained(api, rig.token("feed"), unheard_of) == grpc.StatusCode.NOT_FOUND
    assert await explained(api, rig.token("feed"), crowd, cursor="x") == grpc.StatusCode.INVALID_ARGUMENT
