"""Repeated activity on real servers: what is unread about one thing is one entry, whose counts are exact, whatever
comes twice, late, or at once with a mark."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from crown.ledger import row_id
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.notification_pb2 import InboxEntry
from crown.store import Document
from services.ingest.inbox.entries import _crowd
from services.ingest.inbox.service import InboxService
from services.ingest.inbox.threads import Threads
from services.ingest.intake.accept import Accepted
from tests.integration.local import Local
from tests.integration.rig import Rig

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LIKE = {"type": "IN_APP", "group_key": "post:42:like", "data": {"title": "Somebody liked your post"}}


@pytest.fixture
def service(local: Local) -> InboxService:
    return InboxService(local.bus, local.db, local.data_key)


def by(local: Local, person: str, name: str, **given: Any) -> Accepted:
    return local.accepted(user_id=person, actor={"name": name, "user_id": name}, **{**LIKE, **given})


async def told(local: Local, *accepted: Accepted) -> list[str]:
    """All of these dispatched, one after the other on the intake."""
    found = [await local.put(one) for one in accepted]
    async with local.dispatching():
        await local.dispatched()
    return found


async def entries(service: InboxService, person: str, **given: Any) -> list[InboxEntry]:
    request = pb.ListNotificationsRequest(user_id=person, limit=100, **given)
    page = await service.ListNotifications(request, None)
    assert page.total == len(page.notifications)
    return list(page.notifications)


async def count(service: InboxService, person: str) -> tuple[int, int]:
    answer = await service.GetUnreadCount(pb.GetUnreadCountRequest(user_id=person), None)
    return answer.unread_count, answer.unseen_count


def said(entry: InboxEntry) -> tuple[list[str], int, int]:
    return list(entry.actor_names), entry.actor_count, entry.count


async def test_ann_and_twelve_others(local: Local, service: InboxService) -> None:
    person = local.somebody()
    names = [f"Nr. {number}" for number in range(12)]
    await told(local, *(by(local, person, name) for name in names[:5]))
    await told(local, *(by(local, person, name) for name in names[5:]))
    (last,) = await told(local, by(local, person, "Ann"))
    (entry,) = await entries(service, person)
    assert said(entry) == (["Ann", "Nr. 11", "Nr. 10"], 13, 13)
    assert (entry.notification_id, entry.group_key) == (last, "post:42:like")
    assert await count(service, person) == (1, 1)
    assert await entries(service, person, unread_only=True, group_key="post:42:like") == [entry]


async def test_each_person_sender_and_group_has_its_own(local: Local, service: InboxService) -> None:
    person, other = local.somebody(), local.somebody()
    await told(
        local,
        by(local, person, "Ann"),
        by(local, person, "Bob", group_key="post:43:like"),
        by(local, other, "Cid"),
        local.accepted(user_id=person, type="IN_APP"),
        by(local, person, "Dee", type="PUSH"),
    )
    assert [said(entry) for entry in await entries(service, person)] == [
        # What the app does not show collapses on the phone.
        (["Dee"], 1, 1),
        ([], 0, 1),
        (["Bob"], 1, 1),
        (["Ann"], 1, 1),
    ]
    assert [said(entry) for entry in await entries(service, other)] == [(["Cid"], 1, 1)]


async def test_the_same_actor_counts_once(local: Local, service: InboxService) -> None:
    person = local.somebody()
    await told(local, *(by(local, person, name) for name in ("Ann", "Bob", "Ann", "Ann")))
    (entry,) = await entries(service, person)
    assert said(entry) == (["Ann", "Bob"], 2, 4)


async def test_a_redelivery_counts_nobody_twice(local: Local, service: InboxService) -> None:
    person = local.somebody()
    accepted = [by(local, person, name) for name in ("Ann", "Bob", "Cid")]
    ids = await told(local, *accepted)
    await told(local, *reversed(accepted))
    (entry,) = await entries(service, person)
    assert (entry.notification_id, *said(entry)) == (ids[2], ["Cid", "Bob", "Ann"], 3, 3)
    await service.MarkAllRead(pb.MarkAllReadRequest(user_id=person), None)
    await told(local, *accepted, by(local, person, "Dee"))
    assert [said(entry) for entry in await entries(service, person)] == [
        (["Dee"], 1, 1),
        (["Cid", "Bob", "Ann"], 3, 3),
    ]
    assert await count(service, person) == (1, 1)


@pytest.mark.parametrize("how", ["MarkRead", "ArchiveNotifications", "DeleteNotifications"])
@pytest.mark.parametrize("named", ["newest", "folded", "all"])
async def test_what_is_done_with_is_done_with_whole(
    local: Local, service: InboxService, how: str, named: str
) -> None:
    person = local.somebody()
    ids = await told(local, *(by(local, person, name) for name in ("Ann", "Bob", "Cid")))
    given: dict[str, Any]
    if named == "all":
        name, given = ("MarkAllRead", {}) if how == "MarkRead" else (how, {"all": True})
    else:
        name, given = how, {"notification_id": ids[-1] if named == "newest" else ids[0]}
    await getattr(service, name)(getattr(pb, f"{name}Request")(user_id=person, **given), None)
    assert await count(service, person) == (0, 0)
    rows = [row async for row in local.db.ledger.find({"user_id": person})]
    assert all(row.get("read_time") for row in rows)
    assert await local.db.threads.count_documents({"_id": {"$regex": f"^{person}/"}}) == 0
    # What comes later begins anew, and brings nothing back.
    await told(local, by(local, person, "Dee"), by(local, person, "Ann"))
    new, *old = await entries(service, person)
    assert said(new) == (["Ann", "Dee"], 2, 2)
    read = [] if how != "MarkRead" else [(["Cid", "Bob", "Ann"], 3, 3)]
    assert [said(entry) for entry in old] == read
    archived = await entries(service, person, view="ARCHIVED")
    assert [said(entry) for entry in archived] == (
        [(["Cid", "Bob", "Ann"], 3, 3)] if how == "ArchiveNotifications" else []
    )
    assert await count(service, person) == (1, 1)


async def test_what_is_seen_goes_on(local: Local, service: InboxService) -> None:
    person = local.somebody()
    await told(local, by(local, person, "Ann"))
    await service.MarkSeen(pb.MarkSeenRequest(user_id=person, all=True), None)
    assert await count(service, person) == (1, 0)
    await told(local, by(local, person, "Bob"))
    (entry,) = await entries(service, person)
    assert (said(entry), entry.HasField("seen_time")) == ((["Bob", "Ann"], 2, 2), False)
    assert await count(service, person) == (1, 1)


async def test_names_are_gone_with_the_person(local: Local, service: InboxService) -> None:
    person = local.somebody()
    await told(local, by(local, person, "Ann"), by(local, person, "Bob"))
    await local.db.people.delete_one({"_id": person})
    (entry,) = await entries(service, person)
    assert (said(entry), entry.group_key) == (([], 2, 2), "")


async def test_entries_and_marks_at_once(local: Local, service: InboxService) -> None:
    """While many like, the person reads again and again: nothing is lost, nothing counts twice, and what is unread
    is one entry."""
    person, busy = local.somebody(), True

    async def reads() -> None:
        while busy:
            await service.MarkAllRead(pb.MarkAllReadRequest(user_id=person), None)
            await asyncio.sleep(0.01)

    async with local.dispatching(), local.dispatching(), asyncio.TaskGroup() as tasks:
        tasks.create_task(reads())
        for turn in range(15):
            some = [by(local, person, f"{turn}-{number}") for number in range(10)]
            await asyncio.gather(*(local.put(one) for one in some))
        await local.dispatched()
        busy = False
    await told(local, by(local, person, "Ann"), by(local, person, "Bob"))
    found = await entries(service, person)
    assert sum(entry.count for entry in found) == sum(entry.actor_count for entry in found) == 152
    assert [entry.HasField("read_time") for entry in found] == [False, *[True] * (len(found) - 1)]
    assert await count(service, person) == (1, 1)


async def test_who_leaves_a_thread_leaves_nothing_folded_behind(local: Local, service: InboxService) -> None:
    """A newer row comes into a thread that is being closed; an older one is folded into it, and then it leaves."""
    person, threads = local.somebody(), Threads(local.db)
    one, other = row(person, 1, group=b"post"), row(person, 2, group=b"post")
    await threads.assign([one, other])
    old = one["thread"]
    await local.db.ledger.insert_one(one)
    await threads.close([one])
    await local.db.ledger.insert_one(other)
    folds = {"$set": {"shelf": "folded", "read_time": EPOCH}, "$unset": {"unread": ""}}
    await local.db.ledger.update_one({"_id": one["_id"]}, folds)
    await threads.fold([other])
    left = [row async for row in local.db.ledger.find({"user_id": person}).sort("_id", 1)]
    assert [(row["thread"] == old, row.get("shelf"), row.get("unread")) for row in left] == [
        (True, None, None),
        (False, None, True),
    ]


async def test_a_mark_folds_what_its_writer_has_not(local: Local, service: InboxService) -> None:
    person, threads = local.somebody(), Threads(local.db)
    rows = [row(person, number, group=b"post") for number in range(3)]
    await threads.assign(rows)
    await local.db.ledger.insert_many(rows)
    await service.MarkAllRead(pb.MarkAllReadRequest(user_id=person), None)
    await threads.fold(rows)
    left = local.db.ledger.find({"user_id": person}).sort("_id", 1)
    assert [(one.get("shelf"), one.get("unread"), "read_time" in one) async for one in left] == [
        ("folded", None, True),
        ("folded", None, True),
        (None, None, True),
    ]


# -- the cost


class Commands(CommandListener):
    """What a client asked the store."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing to note."""


def row(person: str, number: int, **given: Any) -> Document:
    notification_id = f"01a202de-cd68-776b-aacc-{number:012x}"
    return {
        "_id": row_id(notification_id, person),
        "notification_id": notification_id,
        "user_id": person,
        "create_time": EPOCH + timedelta(seconds=number),
        "sender": "feed",
        "unread": True,
        **given,
    }


async def test_a_thousand_likes_are_few_round_trips(local: Local, rig: Rig) -> None:
    commands = Commands()
    url = rig.settings().database_url.get_secret_value()
    client: AsyncMongoClient[Document] = AsyncMongoClient(url, event_listeners=[commands])
    db = client.get_default_database()
    threads, person = Threads(db), local.somebody()
    plain = [row(person, 2_000 + number) for number in range(10)]
    await threads.assign(plain)
    await threads.fold(plain)
    assert commands.names == []
    for start in (0, 1_000):
        likes = [row(person, start + n, group=b"post", actor=str(n).encode()) for n in range(1_000)]
        commands.names.clear()
        await threads.assign(likes)
        await local.db.ledger.insert_many(likes)
        await threads.fold(likes)
        assert len(commands.names) <= 7, commands.names
    left = local.db.ledger.find({"user_id": person, "unread": True}, {"_id": 1})
    assert [one["_id"] async for one in left] == [likes[-1]["_id"]]
    explained = await local.db.command(
        {
            "explain": {"aggregate": "ledger", "pipeline": _crowd(likes[0]["thread"])[1], "cursor": {}},
            "verbosity": "executionStats",
        }
    )
    stats = explained["stages"][0]["$cursor"]["executionStats"]
    # One key for each actor, however often they did it, and no row.
    assert stats["totalDocsExamined"] == 0
    assert stats["totalKeysExamined"] <= 1_001
    await client.close()


async def test_a_page_of_threads(local: Local, service: InboxService) -> None:
    person = local.somebody()
    await told(local, *(by(local, person, "Ann", group_key=f"post:{n}") for n in range(100)))
    assert [said(entry) for entry in await entries(service, person)] == [(["Ann"], 1, 1)] * 100
