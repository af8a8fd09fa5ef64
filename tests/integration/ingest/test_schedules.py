"""Schedules on real servers: what is asked of them, and that each time is sent for once, whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from crown import subjects
from crown.clock import moment
from crown.notification.v1 import schedule_service_pb2 as pb
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from crown.notification.v1.types_pb2 import ScheduleState
from crown.store import Document
from services.ingest.schedules.book import Book, Plan
from services.ingest.schedules.firing import Firing
from tests.integration.local import Local
from tests.integration.rig import Rig, until

PRESENT = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@dataclass
class Calls:
    """The RPCs as one service, or an operator."""

    stub: Any
    token: str
    metadata: Any = field(init=False)

    def __post_init__(self) -> None:
        self.metadata = (("authorization", f"Bearer {self.token}"),)

    async def create(self, **given: Any) -> pb.Schedule:
        fields = {"cron": "0 9 * * *", "notification": {"user_id": "u1", "data": {"title": "Hi"}}, **given}
        request = pb.CreateScheduleRequest(**fields)
        answer = await self.stub.CreateSchedule(request, metadata=self.metadata, timeout=10)
        return cast("pb.Schedule", answer.schedule)

    async def get(self, schedule_id: str) -> pb.Schedule:
        request = pb.GetScheduleRequest(schedule_id=schedule_id)
        answer = await self.stub.GetSchedule(request, metadata=self.metadata, timeout=10)
        return cast("pb.Schedule", answer.schedule)

    async def refused(self, call: Any) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return caught.value.code().name, str(caught.value.details())


@pytest.fixture(scope="module")
async def stub(rig: Rig) -> AsyncIterator[Any]:
    async with rig.running("api") as api:
        yield ScheduleServiceStub(api.channel)


@pytest.fixture
def feed(rig: Rig, stub: Any) -> Calls:
    return Calls(stub, rig.token("feed"))


@pytest.fixture
async def empty(local: Local) -> Local:
    """No schedule of another test is due."""
    await local.db.schedules.delete_many({})
    return local


# -- the RPCs


async def test_the_life_of_a_schedule(empty: Local, feed: Calls) -> None:
    made = await feed.create(name="Morning", cron="0 9 * * MON-FRI", time_zone="Europe/Berlin")
    assert (made.name, made.cron, made.time_zone) == ("Morning", "0 9 * * MON-FRI", "Europe/Berlin")
    assert (made.state, made.sender, len(made.next_times)) == (ScheduleState.ACTIVE, "feed", 5)
    assert made.notification.user_id == "u1"
    assert list(made.next_times) == sorted(made.next_times, key=lambda time: time.seconds)
    assert await feed.get(made.schedule_id) == made

    named = {"metadata": feed.metadata, "timeout": 10}
    pause = pb.PauseScheduleRequest(schedule_id=made.schedule_id)
    for _ in range(2):
        paused = (await feed.stub.PauseSchedule(pause, **named)).schedule
        assert (paused.state, list(paused.next_times)) == (ScheduleState.PAUSED, [])
    update = pb.UpdateScheduleRequest(
        schedule_id=made.schedule_id,
        cron="30 8 * * *",
        notification=SendNotificationRequest(user_id="u2", data={"title": "x"}),  # type: ignore[arg-type]
    )
    updated = (await feed.stub.UpdateSchedule(update, **named)).schedule
    assert (updated.cron, updated.time_zone, updated.name) == ("30 8 * * *", "UTC", "")
    assert (updated.state, updated.notification.user_id) == (ScheduleState.PAUSED, "u2")
    assert "next_time" not in await stored(empty, made.schedule_id)
    resume = pb.ResumeScheduleRequest(schedule_id=made.schedule_id)
    for _ in range(2):
        resumed = (await feed.stub.ResumeSchedule(resume, **named)).schedule
        assert resumed.state == ScheduleState.ACTIVE
        assert (await stored(empty, made.schedule_id))["next_time"] == moment(resumed.next_times[0])
    again = (await feed.stub.UpdateSchedule(update, **named)).schedule
    assert (await stored(empty, made.schedule_id))["next_time"] == moment(again.next_times[0])

    delete = pb.DeleteScheduleRequest(schedule_id=made.schedule_id)
    await feed.stub.DeleteSchedule(delete, **named)
    assert (await feed.refused(feed.get(made.schedule_id)))[0] == "NOT_FOUND"
    assert (await feed.refused(feed.stub.DeleteSchedule(delete, **named)))[0] == "NOT_FOUND"


async def stored(local: Local, schedule_id: str) -> Document:
    found = await local.db.schedules.find_one({"_id": schedule_id})
    assert found is not None
    return found


async def test_what_is_sent_stands_sealed(empty: Local, feed: Calls) -> None:
    secret = "canary-of-schedules"
    made = await feed.create(notification={"group_ids": [secret], "data": {"title": secret}})
    assert secret not in str(await stored(empty, made.schedule_id))
    assert list(made.notification.group_ids) == [secret]


async def test_the_same_key_means_the_same_schedule(empty: Local, feed: Calls) -> None:
    one = await feed.create(idempotency_key="k", name="one")
    two = await feed.create(idempotency_key="k", name="two")
    assert (two.schedule_id, two.name) == (one.schedule_id, "one")
    assert await empty.db.schedules.count_documents({}) == 1


async def test_a_service_sees_its_own_and_an_operator_all(
    rig: Rig, empty: Local, feed: Calls, stub: Any
) -> None:
    chat = Calls(stub, rig.token("chat"))
    operator = Calls(stub, rig.stack.token(operator="ann"))
    own = {(await feed.create()).schedule_id for _ in range(3)}
    others = (await chat.create()).schedule_id
    assert (await feed.refused(feed.get(others)))[0] == "NOT_FOUND"
    assert (await operator.get(others)).sender == "chat"

    async def listed(calls: Calls) -> set[str]:
        found: list[str] = []
        cursor = ""
        while True:
            request = pb.ListSchedulesRequest(limit=2, cursor=cursor)
            answer = await stub.ListSchedules(request, metadata=calls.metadata, timeout=10)
            found += [one.schedule_id for one in answer.schedules]
            if not (cursor := answer.next_cursor):
                assert found == sorted(found)
                return set(found)

    assert await listed(feed) == own
    assert await listed(chat) == {others}
    assert await listed(operator) == own | {others}
    pause = pb.PauseScheduleRequest(schedule_id=others)
    refused = await feed.refused(stub.PauseSchedule(pause, metadata=feed.metadata, timeout=10))
    assert refused[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"cron": "* * *"}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": ""}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"name": "x" * 101}, "name"),
        ({"notification": None}, "notification"),
        ({"notification": {"data": {"title": "x"}}}, "notification"),
        ({"notification": {"user_id": "u", "data": {"title": "x"}, "kind": "nonsense"}}, "notification.kind"),
        (
            {"notification": {"user_id": "u", "data": {"title": "x"}, "idempotency_key": "k"}},
            "notification.idempotency_key",
        ),
        (
            {"notification": {"user_id": "u", "data": {"title": "x"}, "send_at": {"seconds": 1}}},
            "notification.send_at",
        ),
        (
            {"notification": {"user_id": "u", "data": {"title": "x"}, "expires_at": {"seconds": 4 * 10**9}}},
            "notification.expires_at",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_is_named(feed: Calls, given: dict[str, Any], named: str) -> None:
    code, details = await feed.refused(feed.create(**given))
    assert code == "INVALID_ARGUMENT"
    assert f"{named}: " in details


async def test_run_now_sends_once_for_a_key_and_leaves_its_times(empty: Local, feed: Calls) -> None:
    made = await feed.create(
        notification={"user_id": empty.somebody(), "type": "IN_APP", "data": {"title": "x"}}
    )

    async def run(key: str = "") -> str:
        request = pb.RunScheduleRequest(schedule_id=made.schedule_id, idempotency_key=key)
        answer = await feed.stub.RunSchedule(request, metadata=feed.metadata, timeout=10)
        return str(answer.notification_id)

    found = [await run("k"), await run("k"), await run(), await run()]
    assert len(set(found)) == 3
    assert found[0] == found[1]
    async with empty.dispatching():
        for notification_id in found:
            assert len(await until(lambda one=notification_id: empty.rows(one))) == 1  # type: ignore[misc]
    assert list((await feed.get(made.schedule_id)).next_times) == list(made.next_times)


# -- sending


class Clock:
    """Stands where a test puts it."""

    def __init__(self, present: datetime) -> None:
        self.present = present

    def __call__(self) -> datetime:
        return self.present


async def planned(local: Local, name: str = "s", cron: str = "* * * * *", present: datetime = PRESENT) -> str:
    """A schedule that was made at this moment."""
    request = SendNotificationRequest(user_id=local.somebody(), type="IN_APP", data={"title": "Hi"})  # type: ignore[arg-type]
    book = Book(local.db, local.data_key)
    found = await book.add(f"{local.rig.database}-{name}", "feed", Plan("", cron, "", request), present)
    return str(found["_id"])


async def sent(local: Local) -> list[str]:
    """The ids of all that is on the intake."""
    raw = await local.stored("INTAKE_normal", subjects.intake("normal"))
    return [IntakeEvent.FromString(one).notification_id for one in raw]


@pytest.fixture
async def quiet(empty: Local) -> Local:
    """And nothing is on the intake."""
    await empty.bus.api("STREAM.PURGE.INTAKE_normal")
    return empty


async def test_each_time_is_sent_for_once(quiet: Local) -> None:
    schedule_id = await planned(quiet)
    clock = Clock(PRESENT)
    firing = Firing(quiet.bus, quiet.store, quiet.data_key, HOUR, clock)
    assert await firing.look() == 0
    for count in range(1, 4):
        clock.present = PRESENT + count * MINUTE
        assert await firing.look() == 1
        assert await firing.look() == 0
        found = await stored(quiet, schedule_id)
        assert found["last_time"] == clock.present.replace(second=0)
        assert found["next_time"] == found["last_time"] + MINUTE
        assert "lease_time" not in found
        notifications = await sent(quiet)
        assert (len(set(notifications)), notifications[-1]) == (count, found["last_notification_id"])


async def test_several_side_by_side_send_it_once(quiet: Local) -> None:
    for count in range(20):
        await planned(quiet, f"many-{count}")
    clock = Clock(PRESENT + MINUTE)
    several = [Firing(quiet.bus, quiet.store, quiet.data_key, HOUR, clock) for _ in range(4)]
    counts = await asyncio.gather(*(one.look() for one in several))
    assert sum(counts) == 20
    found = await sent(quiet)
    assert (len(found), len(set(found))) == (20, 20)


async def test_after_a_crash_it_is_the_same_notification(rig: Rig, quiet: Local, tmp_path: Path) -> None:
    """Killed between sending and going on: whoever is next sends the same one, and one person gets one."""
    start = datetime.now(UTC).replace(microsecond=0)
    schedule_id = await planned(quiet, "crash", cron="0 0 1 1 *", present=start)
    due_time = start - timedelta(seconds=5)
    # Any time will do that the expression gives; this one is of this minute.
    cron = f"{due_time.minute} {due_time.hour} * * *"
    due = {"cron": cron, "next_time": due_time.replace(second=0)}
    await quiet.db.schedules.update_one({"_id": schedule_id}, {"$set": due})
    trap = tmp_path / "trap"
    trap.write_text("")
    given = {"CROWN_FAILPOINT": f"schedules.after_publish:{trap}"}
    async with rig.started(["-m", "services.ingest", "record"], "record", **given) as record:
        assert await record.ended() != 0
        record.process = None
    (first,) = await sent(quiet)
    assert "last_time" not in await stored(quiet, schedule_id)
    async with rig.running("record"):
        await until(lambda: _told(quiet, schedule_id), within_s=30)
    assert await sent(quiet) == [first, first]
    assert (await stored(quiet, schedule_id))["last_notification_id"] == first
    async with quiet.dispatching():
        await quiet.dispatched()
        assert len(await quiet.rows(first)) == 1


async def _told(local: Local, schedule_id: str) -> bool:
    return "last_time" in await stored(local, schedule_id)


async def test_what_was_missed_is_made_up_for_once_and_not_when_it_is_old(quiet: Local) -> None:
    often = await planned(quiet, "often")
    daily = await planned(quiet, "daily", cron="30 12 * * *")
    clock = Clock(PRESENT.replace(hour=15))
    firing = Firing(quiet.bus, quiet.store, quiet.data_key, HOUR, clock)
    assert await firing.look() == 2
    assert len(await sent(quiet)) == 1
    assert (await stored(quiet, often))["last_time"] == clock.present.replace(second=0)
    found = await stored(quiet, daily)
    assert "last_time" not in found
    assert found["next_time"] == PRESENT.replace(minute=30, second=0) + timedelta(days=1)


async def test_what_is_paused_or_deleted_sends_nothing(quiet: Local) -> None:
    paused, deleted = await planned(quiet, "paused"), await planned(quiet, "deleted")
    book = Book(quiet.db, quiet.data_key)
    await book.pause({"_id": paused}, PRESENT)
    assert await book.delete({"_id": deleted})
    clock = Clock(PRESENT + HOUR)
    firing = Firing(quiet.bus, quiet.store, quiet.data_key, HOUR, clock)
    assert await firing.look() == 0
    resumed = await book.resume({"_id": paused}, clock.present)
    assert resumed is not None
    # What was missed meanwhile is not sent.
    assert resumed["next_time"] == clock.present.replace(second=0) + MINUTE
    assert await firing.look() == 0
    assert await sent(quiet) == []


async def test_who_changes_it_while_it_is_sent_is_not_overruled(quiet: Local) -> None:
    schedule_id = await planned(quiet)
    book = Book(quiet.db, quiet.data_key)
    present = PRESENT + MINUTE
    found = await book.due(present)
    assert found is not None
    await book.pause({"_id": schedule_id}, present)
    await book.advance(found, {"last_time": present}, present)
    after = await stored(quiet, schedule_id)
    assert (after["state"], "next_time" in after, "last_time" in after) == (
        ScheduleState.PAUSED,
        False,
        False,
    )


async def test_one_that_cannot_be_read_holds_nobody_up(quiet: Local) -> None:
    spoilt = await planned(quiet, "spoilt")
    await planned(quiet, "good")
    await quiet.db.schedules.update_one({"_id": spoilt}, {"$set": {"wrapped_key": b"x"}})
    firing = Firing(quiet.bus, quiet.store, quiet.data_key, HOUR, Clock(PRESENT + MINUTE))
    assert await firing.look() == 2
    assert len(await sent(quiet)) == 1


async def test_without_the_bus_it_waits_and_then_goes_out(rig: Rig, quiet: Local) -> None:
    schedule_id = await planned(quiet, "waits", present=datetime.now(UTC) - timedelta(minutes=3))
    await rig.killed("nats")
    async with quiet.working(Firing(quiet.bus, quiet.store, quiet.data_key, HOUR).run):
        await until(lambda: _told(quiet, schedule_id), within_s=40)
    assert (await stored(quiet, schedule_id))["last_notification_id"] in await sent(quiet)
