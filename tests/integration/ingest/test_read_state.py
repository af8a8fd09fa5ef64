"""Read state on real servers: counts that never drift, marks that are harmless twice, and what sockets hear."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from crown import vault
from crown.bus import Bus
from crown.choices import Choices
from crown.clock import now
from crown.errors import NotFound
from crown.ledger import row_id
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.events_pb2 import LiveEvent
from crown.preferences import Preferences
from services.ingest.inbox import marking
from services.ingest.inbox.service import InboxService
from tests.integration.local import Local
from tests.integration.rig import Rig, until

ABSENT = "01a202de-cd68-776b-aacc-66961d5740dd"


@pytest.fixture
def service(local: Local) -> InboxService:
    return InboxService(local.bus, local.db, local.data_key)


async def told(local: Local, count: int, person: str = "", **given: Any) -> tuple[str, list[str]]:
    """A person who was told this much; the ids, oldest first."""
    person = person or local.somebody()
    given = {"type": "IN_APP", **given}
    found = [await local.send(user_id=person, **given) for _ in range(count)]
    async with local.dispatching():
        await local.dispatched()
    return person, found


async def count(service: InboxService, person: str) -> int:
    return (await service.GetUnreadCount(pb.GetUnreadCountRequest(user_id=person), None)).unread_count


async def mark(service: InboxService, person: str, *ids: str) -> tuple[int, int]:
    """Marks by path where one is named, else by body; what was marked and what is left."""
    named: dict[str, Any] = {"notification_id": ids[0]} if len(ids) == 1 else {"notification_ids": ids}
    answer = await service.MarkRead(pb.MarkReadRequest(user_id=person, **named), None)
    return answer.marked, answer.unread_count


async def mark_all(service: InboxService, person: str) -> pb.MarkAllReadResponse:
    return await service.MarkAllRead(pb.MarkAllReadRequest(user_id=person), None)


async def history(service: InboxService, person: str, **given: Any) -> pb.ListNotificationsResponse:
    return await service.ListNotifications(pb.ListNotificationsRequest(user_id=person, **given), None)


async def reads(local: Local, person: str) -> list[tuple[LiveEvent, dict[str, Any]]]:
    """The numbered events "read" of a person, with what they say."""
    return [
        (event, json.loads(vault.unseal(local.data_key, event.content)))
        for event in await local.live(person)
        if event.event == "read"
    ]


# -- counting


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({"type": "IN_APP"}, True),
        ({"type": "REAL_TIME"}, True),
        ({"channels": ["EMAIL", "IN_APP"]}, True),
        ({"type": "PUSH"}, False),
        ({"channels": ["EMAIL", "SMS"]}, False),
    ],
    ids=["in_app", "real_time", "among others", "push", "mail and text"],
)
async def test_what_the_app_shows_counts(
    local: Local, service: InboxService, given: dict[str, Any], counts: bool
) -> None:
    given = given if "type" in given else {**given, "type": None}
    person, _ = await told(local, 2, **given)
    assert await count(service, person) == (2 if counts else 0)


async def test_what_was_suppressed_does_not_count(local: Local, service: InboxService) -> None:
    person = local.somebody()
    await Preferences(local.db).replace(person, Choices({"social": {"in_app": False}}))
    await told(local, 1, person, category="SOCIAL")
    assert await count(service, person) == 0
    await told(local, 1, person, category="SOCIAL", type=None, channels=["IN_APP", "REAL_TIME"])
    assert await count(service, person) == 1


async def test_what_is_hidden_is_not_there(local: Local, service: InboxService) -> None:
    person, (hidden, shown) = await told(local, 2)
    await local.db.ledger.update_one({"_id": row_id(hidden, person)}, {"$set": {"hidden": True}})
    assert await count(service, person) == 1
    for unread_only in (False, True):
        page = await history(service, person, unread_only=unread_only)
        assert ([entry.notification_id for entry in page.notifications], page.total) == ([shown], 1)
    with pytest.raises(NotFound):
        await mark(service, person, hidden)
    assert await mark(service, person, hidden, shown) == (1, 0)
    await local.db.ledger.update_one({"_id": row_id(hidden, person)}, {"$unset": {"hidden": ""}})
    assert await count(service, person) == 1


async def test_nobody_has_nothing_to_read(service: InboxService) -> None:
    assert await count(service, "nobody") == 0
    assert (await mark_all(service, "nobody")).marked == 0


# -- marking


async def test_one_is_marked_once(local: Local, service: InboxService) -> None:
    person, (first, second) = await told(local, 2)
    assert await mark(service, person, first) == (1, 1)
    (before,) = await local.rows(first)
    assert await mark(service, person, first) == (0, 1)
    (after,) = await local.rows(first)
    assert (after["read_time"], "unread" in after) == (before["read_time"], False)
    page = await history(service, person)
    assert [(e.notification_id, e.HasField("read_time")) for e in page.notifications] == [
        (second, False),
        (first, True),
    ]
    assert len(await reads(local, person)) == 1


async def test_several_are_marked_and_the_rest_is_passed_over(local: Local, service: InboxService) -> None:
    person, ids = await told(local, 4)
    assert await mark(service, person, ids[0], ids[1], ids[1], ABSENT) == (2, 2)
    assert await mark(service, person, *ids) == (2, 0)


async def test_another_person_s_is_not_found(local: Local, service: InboxService) -> None:
    owner, (notification_id,) = await told(local, 1)
    for person, named in ((local.somebody(), notification_id), (owner, ABSENT)):
        with pytest.raises(NotFound):
            await mark(service, person, named)
    assert await mark(service, local.somebody(), notification_id, ABSENT) == (0, 0)
    assert await count(service, owner) == 1
    assert await reads(local, owner) == []


async def test_what_was_deleted_is_not_found(local: Local, service: InboxService) -> None:
    person, (notification_id,) = await told(local, 1)
    gone = {"$set": {"delete_time": now(), "shelf": "deleted"}, "$unset": {"unread": ""}}
    await local.db.ledger.update_one({"notification_id": notification_id}, gone)
    with pytest.raises(NotFound):
        await mark(service, person, notification_id)


async def test_what_never_counted_is_read_all_the_same(local: Local, service: InboxService) -> None:
    person, (pushed,) = await told(local, 1, type="PUSH")
    _, (shown,) = await told(local, 1, person)
    assert await mark(service, person, pushed, shown) == (1, 0)
    page = await history(service, person)
    assert all(entry.HasField("read_time") for entry in page.notifications)
    ((_, payload),) = await reads(local, person)
    assert sorted(payload["notification_ids"]) == sorted([pushed, shown])


@pytest.mark.parametrize("step", [2, 3, 100])
async def test_everything_is_marked_in_slices(
    local: Local, service: InboxService, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(marking, "_SLICE", step)
    person, ids = await told(local, 6)
    bystander, _ = await told(local, 1)
    await mark(service, person, ids[0])
    answer = await mark_all(service, person)
    assert (answer.marked, await count(service, person)) == (5, 0)
    assert abs(answer.read_time.ToSeconds() - time.time()) < 60
    assert (await mark_all(service, person)).marked == 0
    assert await count(service, bystander) == 1


async def test_what_comes_later_stays_unread(local: Local, service: InboxService) -> None:
    person, (one, _) = await told(local, 2)
    later = {"$set": {"create_time": now() + timedelta(minutes=1)}}
    await local.db.ledger.update_one({"_id": row_id(one, person)}, later)
    assert (await mark_all(service, person)).marked == 1
    assert await count(service, person) == 1


async def test_a_notification_that_comes_again_stays_read(local: Local, service: InboxService) -> None:
    """As after a crash between the ledger and the ack."""
    accepted = local.accepted(user_id=(person := local.somebody()), type="IN_APP")
    async with local.dispatching():
        notification_id = await local.put(accepted)
        await until(lambda: local.rows(notification_id))
        assert await mark(service, person, notification_id) == (1, 0)
        await local.put(accepted)
        await local.dispatched()
    assert await count(service, person) == 0


# -- what is listed


async def test_only_what_is_unread(local: Local, service: InboxService) -> None:
    person, ids = await told(local, 6)
    await told(local, 2, person, type="PUSH")
    await mark(service, person, ids[1], ids[3])
    left = [ids[5], ids[4], ids[2], ids[0]]
    first = await history(service, person, unread_only=True, limit=3)
    assert ([entry.notification_id for entry in first.notifications], first.total) == (left[:3], 4)
    # Reading what stands before a cursor moves nothing behind it.
    await mark(service, person, left[0])
    rest = await history(service, person, unread_only=True, limit=3, cursor=first.next_cursor)
    assert ([entry.notification_id for entry in rest.notifications], rest.total) == (left[3:], 3)
    assert (await history(service, person)).total == 8


# -- never drifting


async def test_counts_do_not_drift_whatever_happens_at_once(local: Local, service: InboxService) -> None:
    """200 are sent while others mark, mark all and delete: each is left, was marked or was deleted, once."""
    person, chance = local.somebody(), random.Random(1)
    busy, marked, deleted = True, 0, 0

    async def marks() -> None:
        nonlocal marked
        while busy:
            page = await history(service, person, limit=100)
            ids = [entry.notification_id for entry in page.notifications]
            some = chance.sample(ids, min(len(ids), chance.randint(2, 5)))
            # One alone may have been deleted meanwhile, which is an error then.
            if len(some) > 1:
                # The same twice at once: one of them counts it.
                answers = await asyncio.gather(mark(service, person, *some), mark(service, person, *some))
                marked += sum(number for number, _ in answers)

    async def marks_all() -> None:
        nonlocal marked
        while busy:
            await asyncio.sleep(chance.uniform(0.05, 0.2))
            answer = await mark_all(service, person)
            marked += answer.marked

    async def deletes() -> None:
        nonlocal deleted
        while busy:
            await asyncio.sleep(0.01)
            gone = {"$set": {"delete_time": now(), "shelf": "deleted"}, "$unset": {"unread": ""}}
            found = await local.db.ledger.update_one({"user_id": person, "unread": True}, gone)
            deleted += found.modified_count

    async with local.dispatching(), asyncio.TaskGroup() as tasks:
        for work in (marks, marks, marks_all, deletes):
            tasks.create_task(work())
        for _ in range(20):
            await asyncio.gather(*(local.send(user_id=person, type="IN_APP") for _ in range(10)))
            await asyncio.sleep(0.02)
        await local.dispatched()
        busy = False

    await told(local, 3, person)
    assert await local.db.ledger.count_documents({"user_id": person}) == 203
    left = await count(service, person)
    assert marked + deleted + left == 203
    assert marked > 0
    assert deleted > 0
    assert left == (await history(service, person, unread_only=True)).total
    assert left == await local.db.ledger.count_documents(
        {"user_id": person, "read_time": None, "delete_time": None}
    )


# -- what sockets hear


async def test_a_mark_is_told_after_it_is_stored(local: Local, service: InboxService) -> None:
    person, ids = await told(local, 3)
    await mark(service, person, ids[0], ids[1])
    ((event, payload),) = await reads(local, person)
    assert (event.user_id, event.notification_id) == (person, "")
    assert payload.keys() == {"notification_ids", "read_time"}
    assert sorted(payload["notification_ids"]) == sorted(ids[:2])
    (row,) = await local.rows(ids[0])
    assert datetime.fromisoformat(payload["read_time"]) == row["read_time"]


async def test_marking_all_is_told_with_its_moment(local: Local, service: InboxService) -> None:
    person, _ = await told(local, 2)
    answer = await mark_all(service, person)
    await mark_all(service, person)
    ((_, payload),) = await reads(local, person)
    moment = answer.read_time.ToJsonString()
    assert payload == {"all": True, "until": moment, "read_time": moment}


@pytest.fixture
async def own(rig: Rig) -> AsyncIterator[Bus]:
    """A connection of its own."""
    bus = await Bus.connect(rig.settings(), "own")
    yield bus
    await bus.close()


async def test_where_the_stream_stands(local: Local, service: InboxService) -> None:
    person, _ = await told(local, 1, type="REAL_TIME")
    last = (await local.bus.api("STREAM.INFO.REALTIME"))["state"]["last_seq"]
    first = await history(service, person)
    assert (first.offset, len(first.epoch)) == (last, 12)
    await told(local, 1, person, type="REAL_TIME")
    second = await history(service, person)
    assert (second.offset > first.offset, second.epoch) == (True, first.epoch)


async def test_a_bus_that_hangs_holds_nobody_up(local: Local, rig: Rig, own: Bus) -> None:
    person, (one, _) = await told(local, 2)
    service = InboxService(own, local.db, local.data_key)
    await history(service, person)
    async with rig.suspended("nats"):
        began = time.monotonic()
        page = await history(service, person)
        assert (len(page.notifications), page.offset, page.epoch) == (2, 0, "")
        assert time.monotonic() - began < 0.8
        with structlog.testing.capture_logs() as logged:
            assert await mark(service, person, one) == (1, 1)
        assert [line["event"] for line in logged] == ["mark_untold"]
        assert time.monotonic() - began < 3


async def test_a_bus_that_died_is_another_epoch(local: Local, rig: Rig, own: Bus) -> None:
    person, (one, _) = await told(local, 2)
    service = InboxService(own, local.db, local.data_key)
    before = await history(service, person)
    killing = asyncio.create_task(rig.killed("nats"))
    await until(lambda: _is(not own.connected))
    assert (await history(service, person)).epoch in {"", before.epoch}
    assert await mark(service, person, one) == (1, 1)
    assert (await mark_all(service, person)).marked == 1
    await killing
    after = await until(lambda: history(service, person), lambda page: bool(page.epoch), 20)
    assert after.epoch != before.epoch


async def _is(found: bool) -> bool:
    return found
