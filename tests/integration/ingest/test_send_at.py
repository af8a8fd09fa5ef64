"""What is to be sent later: put off by a message that JetStream publishes when it is due, whoever dies meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from crown import subjects
from crown.bus import Outgoing
from crown.clock import now, timestamp
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.types_pb2 import NotificationStatus, TimelineEvent
from crown.subjects import Consumer
from services.ingest.dispatch import dispatcher as dispatch
from services.ingest.dispatch import orders
from services.ingest.intake.accept import Accepted
from services.ingest.timeline import Timeline
from tests.integration.api import Api
from tests.integration.local import Local
from tests.integration.rig import Rig, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_PAUSE_S", 0.5)


def ahead(seconds: float) -> Timestamp:
    found = timestamp(now() + timedelta(seconds=seconds))
    assert found is not None
    return found


def send_time(accepted: Accepted) -> datetime:
    found = orders.send_time(IntakeEvent.FromString(accepted.parts[0]))
    assert found is not None
    return found


async def waiting(local: Local, notification_id: str) -> list[bytes]:
    return await local.stored(subjects.SCHEDULE, subjects.schedules(notification_id))


async def test_it_waits_as_a_message_and_comes_when_it_is_due(rig: Rig, local: Local) -> None:
    async with local.dispatching(), rig.running("api") as service:
        accepted = local.accepted(channels=["PUSH", "IN_APP"], send_at=ahead(5))
        notification_id = await local.put(accepted)
        assert await until(lambda: waiting(local, notification_id)) == accepted.parts
        await local.dispatched()
        assert await local.rows(notification_id) == []
        found = await Api(rig, service).get(notification_id)
        assert found.status == NotificationStatus.SCHEDULED
        assert found.send_time.ToMilliseconds() // 1000 > found.create_time.seconds
        (row,) = await until(lambda: local.rows(notification_id))
        assert -1.0 <= (row["decide_time"] - send_time(accepted)).total_seconds() < 5
        assert len(await until(lambda: local.delivered("push", notification_id))) == 1
        assert (await Api(rig, service).get(notification_id)).status == NotificationStatus.IN_PROGRESS
    document = await local.db.notifications.find_one({"_id": notification_id})
    assert document is not None
    page = await Timeline(local.db).page(document, "", 10, "")
    assert [entry.event for entry in page.entries][:2] == [TimelineEvent.ACCEPTED, TimelineEvent.SCHEDULED]
    assert page.entries[1].due_time.ToDatetime(row["decide_time"].tzinfo) == send_time(accepted)
    cursor = (await Timeline(local.db).page(document, "", 1, "")).cursor
    (second,) = (await Timeline(local.db).page(document, "", 1, cursor)).entries
    assert second.event == TimelineEvent.SCHEDULED
    assert await waiting(local, notification_id) == []


async def test_what_is_past_goes_at_once(local: Local) -> None:
    async with local.dispatching():
        notification_id = await local.send(type="PUSH", send_at=ahead(-5))
        await until(lambda: local.rows(notification_id))


async def test_each_part_waits_once_however_often_it_comes(local: Local) -> None:
    people = [f"later-{number}" for number in range(2_500)]
    accepted = local.accepted(user_ids=people, type="PUSH", send_at=ahead(3600))
    await local.put(accepted)
    await local.put(accepted)
    async with local.dispatching():
        await local.dispatched()
    assert sorted(await waiting(local, accepted.notification_id)) == sorted(accepted.parts)
    assert len(accepted.parts) == 3


async def test_what_expired_meanwhile_goes_nowhere(local: Local) -> None:
    accepted = local.accepted(type="PUSH", send_at=ahead(-20), expires_at=ahead(-10))
    await local.bus.publish(Outgoing(subjects.due_intake(accepted.lane), accepted.parts[0]))
    async with local.dispatching():
        assert await local.becomes(accepted.notification_id, "push", "EXPIRED") == "EXPIRED"


async def test_a_retry_with_the_same_key_and_another_content_is_not_scheduled(local: Local) -> None:
    """Both are sealed with keys of their own, and the first one's message takes care."""
    person = local.somebody()
    first, second = (
        local.accepted(key="later", user_id=person, type="PUSH", send_at=ahead(3600)) for _ in range(2)
    )
    assert first.notification_id == second.notification_id
    async with local.dispatching():
        await local.put(first)
        await local.dispatched()
        await local.put(second)
        await local.dispatched()
    assert await waiting(local, first.notification_id) == first.parts


# -- what dies meanwhile


async def test_it_fires_after_the_bus_was_killed(rig: Rig, local: Local) -> None:
    soon = local.accepted(type="PUSH", send_at=ahead(6))
    async with local.dispatching():
        await local.put(soon)
        await until(lambda: waiting(local, soon.notification_id))
        await rig.killed("nats")
        await until(lambda: local.rows(soon.notification_id), within_s=30)
        await local.dispatched()
    # What the bus had not heard settled when it died came again, as the same delivery.
    events = await local.delivered("push", soon.notification_id)
    assert len({event.delivery_id for event in events}) == 1


PLACES = (
    "scheduling.before_publish",
    "scheduling.after_publish",
    "dispatch.before_ledger",
    "dispatch.after_ledger",
    "dispatch.after_publish",
)


def impatient(real: Callable[[str], Consumer]) -> Callable[[str], Consumer]:
    """What a dead dispatcher held comes to the next one soon."""

    def consumer(lane: str) -> Consumer:
        return Consumer(real(lane).stream, real(lane).name, real(lane).subject, ack_wait_s=1)

    return consumer


@pytest.mark.parametrize("place", PLACES)
async def test_a_dispatcher_that_dies_at_any_step_sends_it_once(
    rig: Rig, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    for name in ("dispatcher", "due_dispatcher"):
        monkeypatch.setattr(subjects, name, impatient(getattr(subjects, name)))
    monkeypatch.setattr(dispatch, "_EXTEND_S", 0.5)
    armed = tmp_path / "armed"
    armed.touch()
    # The process has to start before it is due where it is to die of putting it off.
    seconds = 12 if place.startswith("scheduling") else 3
    found = [await local.send(type="PUSH", send_at=ahead(seconds)) for _ in range(20)]
    command = ["-m", "services.ingest", "dispatch"]
    async with rig.started(command, "dispatch", CROWN_FAILPOINT=f"{place}:{armed}") as service:
        assert await service.ended() == -signal.SIGKILL
    async with local.dispatching():
        for notification_id in found:
            await until(lambda one=notification_id: local.rows(one), within_s=30)  # type: ignore[misc]
            # One that came again just before it was due was worked on, and fires all the same.
            await until(lambda one=notification_id: waiting(local, one), lambda left: not left)  # type: ignore[misc]
        await local.dispatched()
    for notification_id in found:
        assert len(await local.rows(notification_id)) == 1
        # What was published twice has the same id, of which one claim is made.
        events = await local.delivered("push", notification_id)
        assert len({event.delivery_id for event in events}) == 1
