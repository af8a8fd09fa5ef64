"""Notifications to everybody on real servers: how much is written, what survives a crash, and who has it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from nats.aio.msg import Msg
from redis.asyncio import Redis

from crown import broadcasts, subjects, vault
from crown.broadcasts import Broadcasts
from crown.choices import Choices
from crown.clock import now
from crown.notification.v1.events_pb2 import LiveEvent, NotificationContent
from crown.notification.v1.notification_pb2 import Notification, NotificationData
from crown.notification.v1.types_pb2 import (
    Category,
    Channel,
    DeliveryState,
    NotificationStatus,
    TimelineEvent,
)
from crown.preferences import Preferences
from crown.subjects import Consumer
from crown.unread import Unread
from services.ingest.broadcasts import Broadcaster
from services.ingest.intake.keys import KeyBook
from services.ingest.overview import Overview
from services.ingest.timeline import Timeline
from tests.integration.local import Local
from tests.integration.rig import Rig, until

PEOPLE = 100_000
# The notification, and the broadcast.
DOCUMENTS = 2


@pytest.fixture(autouse=True)
async def nothing(local: Local) -> None:
    """No broadcast of the tests before."""
    await local.db.broadcasts.delete_many({})
    await local.db.broadcast_marks.delete_many({})


@asynccontextmanager
async def hearing(local: Local) -> AsyncIterator[list[LiveEvent]]:
    """What realtime nodes hear meanwhile."""
    heard: list[LiveEvent] = []

    async def hear(message: Msg) -> None:
        heard.append(LiveEvent.FromString(message.data))

    subscription = await local.bus.client.subscribe(subjects.EVERYONE, cb=hear)
    await local.bus.client.flush()
    yield heard
    await subscription.unsubscribe()


async def broadcast(local: Local, **given: Any) -> str:
    """Sends one, and has it dispatched."""
    notification_id = await local.put(local.accepted(user_ids=[], everyone=True, **given))
    async with local.dispatching():
        await local.dispatched()
    return notification_id


async def documents(local: Local) -> dict[str, int]:
    """How many each collection holds."""
    return {name: await local.db[name].count_documents({}) for name in await local.db.list_collection_names()}


async def overview(local: Local, redis: Redis, notification_id: str) -> Notification:
    found = await Overview(local.db, KeyBook(redis, local.db)).find(notification_id)
    assert found is not None
    return found


async def unread(local: Local, *people: str) -> list[int]:
    count = Unread(local.db).count
    return [await count(person) for person in people]


async def test_one_for_everybody_writes_two_documents(local: Local, rig: Rig) -> None:
    people = [{"_id": f"person{number}", "key": b""} for number in range(PEOPLE)]
    await local.db.people.insert_many(people, ordered=False)
    before = await documents(local)
    async with hearing(local) as heard:
        notification_id = await broadcast(local, category="SYSTEM", data={"title": "Down at 9"})
        await until(lambda: asyncio.sleep(0, heard))
    after = await documents(local)
    await local.db.people.delete_many({"_id": {"$regex": "^person"}})
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert grown == {"notifications": 1, "broadcasts": 1}
    assert await unread(local, "person0", "person99999") == [1, 1]
    (frame,) = heard
    assert (frame.event, frame.notification_id, frame.user_id) == ("notification", notification_id, "")
    content = NotificationContent.FromString(vault.unseal(local.data_key, frame.content))
    assert NotificationData.FromString(content.data).title == "Down at 9"
    found = await overview(local, rig.redis, notification_id)
    assert (found.status, found.recipient_count, found.everyone) == (NotificationStatus.DONE, 0, True)


async def test_its_story_tells_what_was_decided_for_all(local: Local, rig: Rig) -> None:
    notification_id = await broadcast(local, kind="update")
    found = await Overview(local.db, KeyBook(rig.redis, local.db)).document(notification_id)
    assert found is not None
    page = await Timeline(local.db).page(found, "", 10, "")
    assert [(entry.event, entry.channel, entry.state) for entry in page.entries] == [
        (TimelineEvent.ACCEPTED, 0, 0),
        (TimelineEvent.DECIDED, Channel.REAL_TIME, DeliveryState.DELIVERED),
        (TimelineEvent.DECIDED, Channel.IN_APP, DeliveryState.DELIVERED),
    ]


async def test_of_a_kind_s_channels_it_takes_what_the_app_shows(local: Local) -> None:
    notification_id = await broadcast(local, kind="maintenance")
    (one,) = await Broadcasts(local.db).live()
    assert (one.notification_id, one.channels) == (notification_id, (Channel.IN_APP,))


async def test_one_for_the_inbox_alone_has_sockets_count(local: Local) -> None:
    async with hearing(local) as heard:
        await broadcast(local, type="IN_APP")
        await until(lambda: asyncio.sleep(0, heard))
    assert [(frame.event, frame.notification_id) for frame in heard] == [(broadcasts.NEWS, "")]


async def test_what_expired_before_goes_nowhere(local: Local, rig: Rig) -> None:
    accepted = local.accepted(user_ids=[], everyone=True, expires_at=soon(0.05))
    await asyncio.sleep(0.1)
    async with hearing(local) as heard, local.dispatching():
        notification_id = await local.put(accepted)
        await local.dispatched()
    assert heard == []
    assert await local.db.broadcasts.count_documents({}) == 0
    found = await Overview(local.db, KeyBook(rig.redis, local.db)).document(notification_id)
    assert found is not None
    page = await Timeline(local.db).page(found, "", 10, "")
    assert {entry.reason for entry in page.entries[1:]} == {"EXPIRED"}


def soon(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(now() + timedelta(seconds=seconds))
    return stamp


async def test_it_leaves_inboxes_when_it_expires(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    later = now() + timedelta(minutes=10)
    stamp = Timestamp()
    stamp.FromDatetime(later)
    await broadcast(local, expires_at=stamp)
    assert await unread(local, "ann") == [1]
    known = Broadcasts(local.db)
    assert len(await known.live()) == 1
    monkeypatch.setattr(broadcasts, "now", lambda: later)
    assert await known.live() == []
    assert await unread(local, "ann") == [0]


@pytest.mark.parametrize(("category", "days"), [("SYSTEM", 90), ("MARKETING", 30)])
async def test_it_stays_as_long_as_its_category_is_kept(local: Local, category: str, days: int) -> None:
    await broadcast(local, category=category)
    (one,) = await Broadcasts(local.db).live()
    assert timedelta(days=days) - timedelta(minutes=1) < one.retire_time - now() <= timedelta(days=days)


async def test_sent_twice_it_is_there_once(local: Local, rig: Rig) -> None:
    accepted = local.accepted(key="same", user_ids=[], everyone=True)
    async with hearing(local) as heard:
        async with local.dispatching():
            for _ in range(2):
                await local.put(accepted)
            await local.dispatched()
            await local.put(accepted)
            await local.dispatched()
        await until(lambda: asyncio.sleep(0, heard))
    assert len(heard) == 1
    assert await unread(local, "ann") == [1]


async def test_a_crash_before_the_frame_costs_no_frame(
    local: Local, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(lane: str) -> Consumer:
        return Consumer(f"INTAKE_{lane}", "dispatch", subjects.intake(lane), ack_wait_s=1)

    # What a dead dispatcher held comes to the next one soon.
    monkeypatch.setattr(subjects, "dispatcher", impatient)
    trap = tmp_path / "trap"
    trap.write_text("")
    notification_id = await local.put(local.accepted(user_ids=[], everyone=True))
    async with hearing(local) as heard:
        command = ["-m", "services.ingest", "dispatch"]
        failing = f"broadcast.after_write:{trap}"
        async with rig.started(command, "dispatch", CROWN_FAILPOINT=failing) as service:
            assert await service.ended() == -signal.SIGKILL
        assert (await overview(local, rig.redis, notification_id)).status == NotificationStatus.IN_PROGRESS
        assert heard == []
        async with local.dispatching():
            await local.dispatched()
        await until(lambda: asyncio.sleep(0, heard))
    assert [frame.notification_id for frame in heard] == [notification_id]
    assert (await overview(local, rig.redis, notification_id)).status == NotificationStatus.DONE
    assert await local.db.broadcasts.count_documents({}) == 1


# -- the order in which they are seen


async def test_many_at_once_are_numbered_without_a_fork(local: Local) -> None:
    given = [local.accepted(user_ids=[], everyone=True) for _ in range(20)]
    for accepted in given:
        await local.put(accepted)
    async with local.dispatching(), local.dispatching():
        await local.dispatched()
    rows = await local.db.broadcasts.find().sort("number", 1).to_list()
    assert [row["after"] for row in rows] == [0, *(row["number"] for row in rows[:-1])]
    assert {row["_id"] for row in rows} == {accepted.notification_id for accepted in given}


async def test_two_who_write_at_the_same_moment_both_get_a_number(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second to write had found the same one newest, and has to look again."""
    real = broadcasts.newest
    asked = 0

    async def stale(collection: Any) -> int:
        nonlocal asked
        asked += 1
        return 0 if asked == 2 else await real(collection)

    monkeypatch.setattr(broadcasts, "newest", stale)
    for _ in range(2):
        await broadcast(local)
    assert await local.db.broadcasts.count_documents({}) == 2
    assert asked == 3


# -- cancelled


async def test_what_is_cancelled_leaves_inboxes(local: Local) -> None:
    first, second = [await broadcast(local) for _ in range(2)]
    known = Unread(local.db)
    assert await known.count("ann") == 2
    async with hearing(local) as heard:
        await Broadcaster(local.bus, local.db).withdraw(first)
        await until(lambda: asyncio.sleep(0, heard))
    assert [frame.event for frame in heard] == [broadcasts.NEWS]
    await until(lambda: known.count("ann"), lambda count: count == 1)
    assert [one.notification_id for one in await Broadcasts(local.db).live()] == [second]


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
async def test_what_is_cancelled_first_is_not_sent(
    local: Local, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = local.accepted(user_ids=[], everyone=True)
    cancel = {"$set": {"cancel_time": now()}}

    async def cancelled(collection: Any) -> int:
        await local.db.notifications.update_one({"_id": accepted.notification_id}, cancel)
        return 0

    if moment == "meanwhile":
        monkeypatch.setattr(broadcasts, "newest", cancelled)
    else:
        real = Broadcaster.send

        async def send(self: Broadcaster, order: Any) -> None:
            await cancelled(None)
            await real(self, order)

        monkeypatch.setattr(Broadcaster, "send", send)
    async with hearing(local) as heard:
        await local.put(accepted)
        async with local.dispatching():
            await local.dispatched()
    assert heard == []
    assert await local.db.broadcasts.count_documents({}) == 0


# -- who has it


@pytest.mark.parametrize(
    ("chosen", "category", "sees"),
    [
        ({}, "SYSTEM", 1),
        ({"system": {"in_app": False}}, "SYSTEM", 0),
        ({"system": {"real_time": False}}, "SYSTEM", 1),
        ({"social": {"in_app": False}}, "SYSTEM", 1),
        ({"security": {"in_app": False}}, "SECURITY", 1),
    ],
    ids=["no choice", "off", "only frames off", "another category", "security"],
)
async def test_who_turned_the_category_off_does_not_have_it(
    local: Local, chosen: dict[str, Any], category: str, sees: int
) -> None:
    person = local.somebody()
    await Preferences(local.db).replace(person, Choices(chosen))
    await broadcast(local, category=category)
    assert await unread(local, person) == [sees]
    assert len(await Broadcasts(local.db).of(person)) == sees


async def test_a_choice_counts_at_once(local: Local) -> None:
    person = local.somebody()
    await broadcast(local, category="SYSTEM")
    known = Unread(local.db)
    assert await known.count(person) == 1
    await Preferences(local.db).choose(person, Category.SYSTEM, Channel.IN_APP, False)
    assert await known.count(person) == 0


async def test_a_new_one_is_seen_at_once(local: Local) -> None:
    known = Unread(local.db)
    for count in range(1, 4):
        await broadcast(local)
        assert await known.count("ann") == count


async def test_only_the_newest_are_merged(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcasts, "LIVE_MOST", 2)
    ids = [await broadcast(local) for _ in range(3)]
    assert [one.notification_id for one in await Broadcasts(local.db).live()] == ids[:0:-1]
    assert await unread(local, "ann") == [2]


async def test_who_asks_while_there_are_none_pays_for_one_look(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many who ask at once, too."""
    real, asked = broadcasts.newest, 0

    async def counted(collection: Any) -> int:
        nonlocal asked
        asked += 1
        return await real(collection)

    async def unwanted(*_: Any) -> Any:
        raise AssertionError

    known = Broadcasts(local.db)
    monkeypatch.setattr(broadcasts, "newest", counted)
    monkeypatch.setattr(broadcasts, "marks_of", unwanted)
    monkeypatch.setattr(Preferences, "choices", unwanted)
    assert set(map(len, await asyncio.gather(*(known.of(f"p{number}") for number in range(100))))) == {0}
    assert asked == 1
