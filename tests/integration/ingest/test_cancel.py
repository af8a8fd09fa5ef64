"""Cancelling: what has not been sent is not sent, wherever it waits; what was sent stays sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest

from crown import subjects
from crown.bus import Outgoing
from crown.clock import now, timestamp
from crown.ledger import Change, Ledger
from crown.notification.v1.types_pb2 import DeliveryState, NotificationStatus, TimelineEvent
from crown.store import Document
from services.ingest.cancelling import Cancelled, Cancelling
from services.ingest.dispatch.scheduling import Scheduling
from services.ingest.timeline import Timeline
from tests.integration.api import Api
from tests.integration.local import Local
from tests.integration.rig import Rig, Service, until


@pytest.fixture(scope="module")
async def service(rig: Rig) -> AsyncIterator[Service]:
    async with rig.running("api") as found:
        yield found


@pytest.fixture
def api(rig: Rig, service: Service) -> Api:
    return Api(rig, service)


async def sent(local: Local, **given: Any) -> tuple[str, Document]:
    async with local.dispatching():
        notification_id = await local.send(**given)
        (row,) = await until(lambda: local.rows(notification_id))
        await local.dispatched()
    return notification_id, row


async def put_off(local: Local, row: Document, channel: str, **fields: Any) -> None:
    """As dispatch writes what is deferred."""
    due = now() + timedelta(hours=1)
    found = {"state": DeliveryState.DEFERRED, "reason": "QUIET_HOURS", "due_time": due, **fields}
    change = {f"deliveries.{channel}.{name}": value for name, value in found.items()}
    await local.db.ledger.update_one(
        {"_id": row["_id"]}, {"$set": {**change, "wake_time": due}, "$pull": {"open": channel}}
    )


async def test_what_is_scheduled_is_never_dispatched(local: Local, api: Api) -> None:
    later = timestamp(now() + timedelta(hours=1))
    accepted = local.accepted(channels=["PUSH", "IN_APP"], send_at=later)
    notification_id = await local.put(accepted)
    async with local.dispatching():
        await until(lambda: local.stored(subjects.SCHEDULE, subjects.schedules(notification_id)))
        await local.dispatched()
        answer = await api.cancel(notification_id)
        assert (answer.notification_id, answer.status) == (notification_id, NotificationStatus.CANCELLED)
        assert (answer.cancelled_count, answer.late_count) == (0, 0)
        assert await local.stored(subjects.SCHEDULE, subjects.schedules(notification_id)) == []
        assert (await api.get(notification_id)).status == NotificationStatus.CANCELLED
        # As if it had fired before it was purged; and as if its sender's retry came.
        await local.bus.publish(Outgoing(subjects.due_intake(accepted.lane), accepted.parts[0]))
        await local.put(accepted)
        await local.dispatched()
    assert await local.rows(notification_id) == []
    assert await local.stored(subjects.SCHEDULE, subjects.schedules(notification_id)) == []
    document = await local.db.notifications.find_one({"_id": notification_id})
    assert document is not None
    events = [entry.event for entry in (await Timeline(local.db).page(document, "", 10, "")).entries]
    assert events == [TimelineEvent.ACCEPTED, TimelineEvent.SCHEDULED, TimelineEvent.CANCELLED]
    again = await api.cancel(notification_id)
    assert again == answer
    assert await local.db.notifications.find_one({"_id": notification_id}) == document


async def test_what_waits_is_cancelled_and_what_was_sent_is_not(local: Local, api: Api) -> None:
    notification_id, row = await sent(local, channels=["IN_APP", "PUSH", "EMAIL", "SMS"])
    await put_off(local, row, "email", digest="d")
    await local.db.ledger.update_one(
        {"_id": row["_id"]}, {"$set": {"deliveries.sms.state": DeliveryState.RETRYING}}
    )
    answer = await api.cancel(notification_id)
    assert (answer.cancelled_count, answer.late_count) == (3, 1)
    (after,) = await local.rows(notification_id)
    assert after["open"] == []
    assert "wake_time" not in after
    states = {channel: delivery["state"] for channel, delivery in after["deliveries"].items()}
    assert states.pop("in_app") == DeliveryState.DELIVERED
    assert set(states.values()) == {DeliveryState.CANCELLED}
    assert after["unread"] is True
    assert await api.cancel(notification_id) == answer
    assert await local.rows(notification_id) == [after]


async def test_an_attempt_that_was_under_way_says_how_it_ended(local: Local, api: Api) -> None:
    notification_id, _ = await sent(local, type="PUSH")
    (event,) = await local.delivered("push", notification_id)
    await api.cancel(notification_id)
    ledger = Ledger(local.db)
    await ledger.record(Change(event, DeliveryState.RETRYING, claims=1))
    assert (await local.state(notification_id, "push"))[0] == "CANCELLED"
    await ledger.record(Change(event, DeliveryState.EXPIRED, "EXPIRED", claims=1))
    assert (await local.state(notification_id, "push"))[0] == "CANCELLED"
    await ledger.record(Change(event, DeliveryState.DELIVERED_TO_PROVIDER, claims=1))
    assert (await local.state(notification_id, "push"))[0] == "DELIVERED_TO_PROVIDER"
    answer = await api.cancel(notification_id)
    assert (answer.cancelled_count, answer.late_count) == (0, 1)


async def test_channels_see_it_before_the_rows_are_marked(local: Local) -> None:
    notification_id, _ = await sent(local, type="PUSH")
    (event,) = await local.delivered("push", notification_id)
    ledger = Ledger(local.db)
    entry = await ledger.load(event)
    assert entry is not None
    assert not entry.cancelled
    await local.db.notifications.update_one({"_id": notification_id}, {"$set": {"cancel_time": now()}})
    entry = await ledger.load(event)
    assert entry is not None
    assert entry.cancelled


async def test_what_is_cancelled_while_its_rows_are_written_goes_nowhere(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who cancels looks for rows just before they stand."""
    real = Ledger.insert
    cancelling = Cancelling(local.bus, local.db)
    accepted = local.accepted(channels=["PUSH", "IN_APP"])
    answers: list[Cancelled] = []

    async def overtaken(self: Ledger, rows: Sequence[Document]) -> set[str]:
        if not answers:
            answers.append(await cancelling.cancel(accepted.notification_id))
        return await real(self, rows)

    monkeypatch.setattr(Ledger, "insert", overtaken)
    async with local.dispatching():
        await local.put(accepted)
        await until(lambda: local.rows(accepted.notification_id))
        await local.dispatched()
    assert answers == [Cancelled(0, 0)]
    assert (await local.state(accepted.notification_id, "push"))[0] == "CANCELLED"
    assert (await local.state(accepted.notification_id, "in_app"))[0] == "DELIVERED"
    assert await local.delivered("push", accepted.notification_id) == []


async def test_rows_of_a_dispatcher_that_died_are_cancelled_by_its_successor(local: Local) -> None:
    """It wrote rows, and died before it saw that they were cancelled: nothing but its message is left of it."""
    accepted = local.accepted(type="PUSH")
    await local.put(accepted)
    async with local.dispatching():
        await until(lambda: local.rows(accepted.notification_id))
        await local.dispatched()
        await local.db.notifications.update_one(
            {"_id": accepted.notification_id}, {"$set": {"cancel_time": now()}}
        )
        await local.put(accepted)
        await local.becomes(accepted.notification_id, "push", "CANCELLED")


async def test_very_many_rows_are_marked_slice_by_slice(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.cancelling._SLICE", 7)
    people = [local.somebody() for _ in range(50)]
    async with local.dispatching():
        notification_id = await local.send(user_ids=people, type="PUSH")
        await until(lambda: local.rows(notification_id), lambda rows: len(rows) == 50)
        await local.dispatched()
    assert await Cancelling(local.bus, local.db).cancel(notification_id) == Cancelled(50, 0)
    assert all(row["open"] == [] for row in await local.rows(notification_id))


async def test_what_everybody_got_goes_out_of_all_inboxes(local: Local, api: Api) -> None:
    async with local.dispatching():
        notification_id = await local.put(local.accepted(user_id="", everyone=True))
        await until(lambda: local.db.broadcasts.find_one({"_id": notification_id}))
        await local.dispatched()
    assert (await api.cancel(notification_id)).status == NotificationStatus.CANCELLED
    assert await local.db.broadcasts.find_one({"_id": notification_id}) is None
    assert (await api.get(notification_id)).status == NotificationStatus.CANCELLED


async def test_nobody_cancels_what_is_not_theirs(rig: Rig, local: Local, api: Api, service: Service) -> None:
    notification_id, _ = await sent(local, type="PUSH")
    for caller, wanted in ((Api(rig, service, "chat"), notification_id), (api, str(uuid4()))):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.cancel(wanted)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert (await local.state(notification_id, "push"))[0] == "PENDING"


async def test_what_was_just_accepted_is_waited_for(local: Local, api: Api) -> None:
    notification_id = await api.send(type="PUSH")
    call = asyncio.create_task(api.cancel(notification_id))
    await asyncio.sleep(0.2)
    async with local.dispatching():
        assert (await call).status == NotificationStatus.CANCELLED
        await local.dispatched()
    rows = await local.rows(notification_id)
    assert all(row["open"] == [] for row in rows)


async def test_a_bus_that_is_away_does_not_keep_anybody_from_cancelling(rig: Rig, local: Local) -> None:
    notification_id, _ = await sent(local, type="PUSH")
    async with rig.suspended("nats"):
        assert await Cancelling(local.bus, local.db).cancel(notification_id) == Cancelled(1, 0)
    scheduling = Scheduling(local.bus, local.db, local.data_key)
    assert await scheduling.overtaken({notification_id, "other"}) == {notification_id}
