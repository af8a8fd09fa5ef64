"""What went to everybody, in the inbox of each: pages, counts and marks, on real servers."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from crown import ids
from crown.clock import now
from crown.errors import NotFound
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.notification_pb2 import InboxEntry
from crown.notification.v1.types_pb2 import Category, Channel, InboxView
from crown.store import Document
from services.ingest.inbox.service import InboxService
from tests.integration.ingest.test_broadcast import broadcast
from tests.integration.ingest.test_read_state import reads
from tests.integration.local import Local

ABSENT = "01a202de-cd68-776b-aacc-66961d5740dd"


@pytest.fixture
def service(local: Local) -> InboxService:
    return InboxService(local.bus, local.db, local.data_key)


@pytest.fixture(autouse=True)
async def nothing(local: Local) -> None:
    await local.db.broadcasts.delete_many({})
    await local.db.broadcast_marks.delete_many({})


async def page(service: InboxService, person: str, **given: Any) -> pb.ListNotificationsResponse:
    return await service.ListNotifications(pb.ListNotificationsRequest(user_id=person, **given), None)


async def listed(service: InboxService, person: str, **given: Any) -> list[str]:
    return [entry.notification_id for entry in (await page(service, person, **given)).notifications]


async def counts(service: InboxService, person: str) -> tuple[int, int]:
    answer = await service.GetUnreadCount(pb.GetUnreadCountRequest(user_id=person), None)
    return answer.unread_count, answer.unseen_count


async def entry(service: InboxService, person: str) -> InboxEntry:
    (found,) = (await page(service, person, view=InboxView.ALL)).notifications
    return found


# -- pages


async def some(local: Local, person: str, seed: int) -> list[tuple[datetime, str]]:
    """Rows and broadcasts in a mixed order, many of them at the same moment; their places, newest first."""
    dice = random.Random(seed)
    begin = now() - timedelta(days=1)
    rows: list[Document] = []
    broadcasts: list[Document] = []
    for number in range(1, 41):
        notification_id = ids.fresh_notification()
        moment = begin + timedelta(seconds=dice.randrange(12))
        common = {
            "kind": "",
            "category": Category.SYSTEM,
            "channels": [Channel.IN_APP],
            "create_time": moment,
        }
        if dice.random() < 0.4:
            later = {"retire_time": now() + timedelta(days=1), "wrapped_key": b""}
            broadcasts.append(
                {"_id": notification_id, "number": number, "after": number - 1, **common, **later}
            )
        else:
            named = {"notification_id": notification_id, "user_id": person, "wrapped_key": b""}
            row = {"_id": f"{notification_id}/{person}", **named, "deliveries": {}, "open": [], **common}
            if dice.random() < 0.5:
                row["unread"] = row["unseen"] = True
            rows.append(row)
    await local.db.ledger.insert_many(rows)
    await local.db.broadcasts.insert_many(broadcasts)
    both = [(row["create_time"], row.get("notification_id", row["_id"])) for row in [*rows, *broadcasts]]
    return sorted(both, reverse=True)


@pytest.mark.parametrize("seed", range(4))
async def test_every_entry_is_on_one_page(local: Local, service: InboxService, seed: int) -> None:
    person = local.somebody()
    whole = [name for _, name in await some(local, person, seed)]
    for limit in (1, 3, 7, 40, 100):
        by_page: list[str] = []
        number = 1
        while found := await listed(service, person, page=number, limit=limit):
            by_page += found
            number += 1
        assert by_page == whole
        by_cursor: list[str] = []
        answer = await page(service, person, limit=limit)
        while True:
            assert answer.total == len(whole)
            by_cursor += [one.notification_id for one in answer.notifications]
            if not answer.next_cursor:
                break
            answer = await page(service, person, limit=limit, cursor=answer.next_cursor)
        assert by_cursor == whole


async def test_what_everybody_got_stands_among_the_person_s_own(local: Local, service: InboxService) -> None:
    person = local.somebody()
    own = [await local.send(user_id=person, type="IN_APP", data={"title": "yours"}) for _ in range(2)]
    notification_id = await broadcast(local, kind="update", data={"title": "all", "message": "of you"})
    answer = await page(service, person)
    assert [one.notification_id for one in answer.notifications] == [notification_id, *reversed(own)]
    first = answer.notifications[0]
    assert (first.data.title, first.data.message, first.everyone) == ("all", "of you", True)
    assert (first.kind, first.category, list(first.deliveries)) == ("update", Category.SYSTEM, [])
    assert not answer.notifications[1].everyone
    assert answer.total == 3


async def test_lists_are_of_what_was_asked_for(local: Local, service: InboxService) -> None:
    person = local.somebody()
    system, social = [await broadcast(local, category=name) for name in ("SYSTEM", "SOCIAL")]
    assert await listed(service, person, category=Category.SOCIAL) == [social]
    assert await listed(service, person, group_key="post 1") == []
    await service.MarkRead(pb.MarkReadRequest(user_id=person, notification_id=social), None)
    assert await listed(service, person, unread_only=True) == [system]
    await service.ArchiveNotifications(
        pb.ArchiveNotificationsRequest(user_id=person, notification_id=system), None
    )
    assert await listed(service, person) == [social]
    assert await listed(service, person, view=InboxView.ARCHIVED) == [system]
    assert await listed(service, person, view=InboxView.ALL) == [social, system]
    assert (await page(service, person)).total == 1


# -- marks

MARKS: dict[str, Any] = {
    "read": (pb.MarkReadRequest, "MarkRead"),
    "unread": (pb.MarkUnreadRequest, "MarkUnread"),
    "seen": (pb.MarkSeenRequest, "MarkSeen"),
    "archived": (pb.ArchiveNotificationsRequest, "ArchiveNotifications"),
    "unarchived": (pb.UnarchiveNotificationsRequest, "UnarchiveNotifications"),
    "deleted": (pb.DeleteNotificationsRequest, "DeleteNotifications"),
}


async def do(service: InboxService, mark: str, person: str, *named: str) -> int:
    """Does it to these, or to all; how many changed."""
    make, method = MARKS[mark]
    if mark == "read":
        if not named:
            return (await service.MarkAllRead(pb.MarkAllReadRequest(user_id=person), None)).marked
        return (await service.MarkRead(make(user_id=person, notification_ids=named), None)).marked
    given: dict[str, Any] = {"notification_ids": named} if named else {"all": True}
    changed: int = (await getattr(service, method)(make(user_id=person, **given), None)).changed
    return changed


async def test_one_is_marked_by_each_for_themselves(local: Local, service: InboxService) -> None:
    ann, bob = local.somebody(), local.somebody()
    first, second = [await broadcast(local) for _ in range(2)]
    assert await do(service, "read", ann, first, first, ABSENT) == 1
    assert await do(service, "read", ann, first) == 0
    assert (await counts(service, ann), await counts(service, bob)) == ((1, 1), (2, 2))
    ((event, said),) = await reads(local, ann)
    assert (event.event, said["notification_ids"]) == ("read", [first])
    assert await reads(local, bob) == []
    read = {
        one.notification_id: one.HasField("read_time") for one in (await page(service, ann)).notifications
    }
    assert read == {first: True, second: False}


async def test_by_path_one_has_to_be_there(local: Local, service: InboxService) -> None:
    person = local.somebody()
    notification_id = await broadcast(local)
    request = pb.MarkReadRequest(user_id=person, notification_id=notification_id)
    assert (await service.MarkRead(request, None)).marked == 1
    await do(service, "deleted", person, notification_id)
    with pytest.raises(NotFound):
        await service.MarkRead(request, None)


async def test_all_of_them_cost_one_document(local: Local, service: InboxService) -> None:
    person = local.somebody()
    for _ in range(5):
        await broadcast(local)
    assert await do(service, "read", person) == 5
    assert await local.db.broadcast_marks.count_documents({}) == 1
    assert await do(service, "read", person) == 0
    assert await counts(service, person) == (0, 0)
    before = (await page(service, person)).notifications[-1].read_time
    newer = await broadcast(local)
    assert await listed(service, person, unread_only=True) == [newer]
    assert await do(service, "read", person) == 1
    assert await local.db.broadcast_marks.count_documents({}) == 1
    # What was read keeps its time.
    after = (await page(service, person)).notifications
    assert after[-1].read_time == before
    assert after[0].read_time.ToDatetime() > before.ToDatetime()


async def test_one_that_comes_late_is_not_read_with_all_before(local: Local, service: InboxService) -> None:
    """It was accepted before all was marked, and came into inboxes after that."""
    person = local.somebody()
    late = local.accepted(user_ids=[], everyone=True)
    await broadcast(local)
    await do(service, "read", person)
    await local.put(late)
    async with local.dispatching():
        await local.dispatched()
    assert await listed(service, person, unread_only=True) == [late.notification_id]


@pytest.mark.parametrize("way", ["each", "all"])
async def test_marks_undo_and_outdo_each_other(local: Local, service: InboxService, way: str) -> None:
    person = local.somebody()
    notification_id = await broadcast(local)
    named = [notification_id] if way == "each" else []

    async def become(mark: str, *expected: Any) -> None:
        assert await do(service, mark, person, *named) == 1
        assert await do(service, mark, person, *named) == 0
        found = await entry(service, person)
        state = [found.HasField("read_time"), found.HasField("seen_time"), found.HasField("archive_time")]
        assert (state, await counts(service, person)) == ([bool(one) for one in expected[:3]], expected[3])

    await become("seen", 0, 1, 0, (1, 0))
    await become("read", 1, 1, 0, (0, 0))
    await become("unread", 0, 1, 0, (1, 0))
    await become("read", 1, 1, 0, (0, 0))
    await become("unread", 0, 1, 0, (1, 0))
    await become("archived", 1, 1, 1, (0, 0))
    await become("unarchived", 1, 1, 0, (0, 0))
    await become("archived", 1, 1, 1, (0, 0))
    await become("unarchived", 1, 1, 0, (0, 0))
    assert await do(service, "deleted", person, *named) == 1
    assert await listed(service, person, view=InboxView.ALL) == []
    assert await do(service, "deleted", person, *named) == 0


@pytest.mark.parametrize("way", ["each", "all"])
async def test_what_is_archived_is_not_deleted_with_all(
    local: Local, service: InboxService, way: str
) -> None:
    person = local.somebody()
    kept = await broadcast(local)
    await do(service, "archived", person, *([kept] if way == "each" else []))
    await broadcast(local)
    assert await do(service, "deleted", person) == 1
    assert await listed(service, person, view=InboxView.ALL) == [kept]
    assert await do(service, "unarchived", person) == 1
    assert await listed(service, person) == [kept]
    assert await do(service, "deleted", person) == 1
    assert await listed(service, person, view=InboxView.ALL) == []


async def test_of_two_who_mark_the_same_one_counts_it(local: Local, service: InboxService) -> None:
    person = local.somebody()
    named = [await broadcast(local) for _ in range(3)]
    for given in (named, []):
        found = await asyncio.gather(*(do(service, "archived", person, *given) for _ in range(4)))
        assert sum(found) == 3
        await do(service, "unarchived", person)
