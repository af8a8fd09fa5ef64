"""What a person does with entries, on real servers: every order of marks leaves what a small model says, and sockets
hear of each."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crown import ids, vault
from crown.clock import now
from crown.errors import NotFound
from crown.ledger import row_id
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, Priority
from crown.store import Document
from services.ingest.inbox.service import InboxService
from tests.integration.local import Local

CALLS = {
    "read": ("MarkRead", pb.MarkReadRequest),
    "unread": ("MarkUnread", pb.MarkUnreadRequest),
    "seen": ("MarkSeen", pb.MarkSeenRequest),
    "archived": ("ArchiveNotifications", pb.ArchiveNotificationsRequest),
    "unarchived": ("UnarchiveNotifications", pb.UnarchiveNotificationsRequest),
    "deleted": ("DeleteNotifications", pb.DeleteNotificationsRequest),
}


@pytest.fixture
def service(local: Local) -> InboxService:
    return InboxService(local.bus, local.db, local.data_key)


async def call(service: InboxService, person: str, event: str, *ids: str, **given: Any) -> Any:
    """Marks by path where one is named, by body where several are, and all where none is."""
    if event == "read" and not ids:
        return await service.MarkAllRead(pb.MarkAllReadRequest(user_id=person), None)
    name, request = CALLS[event]
    if len(ids) == 1:
        named: dict[str, Any] = {"notification_id": ids[0]}
    else:
        named = {"notification_ids": ids} if ids else {"all": True}
    return await getattr(service, name)(request(user_id=person, **named, **given), None)


async def listed(service: InboxService, person: str, view: Any = "INBOX", **given: Any) -> list[str]:
    request = pb.ListNotificationsRequest(user_id=person, view=view, limit=100, **given)
    page = await service.ListNotifications(request, None)
    assert page.total == len(page.notifications)
    return [entry.notification_id for entry in page.notifications]


async def counts(service: InboxService, person: str) -> tuple[int, int]:
    answer = await service.GetUnreadCount(pb.GetUnreadCountRequest(user_id=person), None)
    return answer.unread_count, answer.unseen_count


def row(person: str, number: int, channel: str, moment: Any) -> Document:
    """As dispatch writes it."""
    notification_id = f"01a202de-cd68-776b-aacc-{number:012x}"
    state = DeliveryState.DELIVERED if channel == "in_app" else DeliveryState.SUPPRESSED
    shown: Document = {"unread": True, "unseen": True} if channel == "in_app" else {}
    return {
        "_id": row_id(notification_id, person),
        "notification_id": notification_id,
        "user_id": person,
        "create_time": moment,
        "decide_time": moment,
        "expire_time": None,
        "kind": "",
        "category": Category.ACTIVITY,
        "lane": Priority.NORMAL,
        "sender": "feed",
        "channels": [Channel.IN_APP],
        "wrapped_key": b"",
        "deliveries": {
            channel: {
                "id": ids.delivery(notification_id, person, channel),
                "state": state,
                "reason": "",
                "update_time": moment,
            }
        },
        "open": [],
        **shown,
    }


@dataclass
class Entry:
    """One entry, as anybody would say it."""

    shown: bool
    read: bool = False
    seen: bool = False
    place: str = "inbox"


@dataclass
class Model:
    """An inbox."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def meant(self, event: str) -> list[str]:
        """All that a mark is for."""
        place = "archived" if event == "unarchived" else "inbox"
        return [one for one, entry in self.entries.items() if entry.place == place]

    def do(self, event: str, named: list[str], *, every: bool = False) -> None:
        """Marks them."""
        for one in self.meant(event) if every else named:
            entry = self.entries[one]
            if entry.place == "deleted" or (every and event == "read" and not entry.shown):
                continue
            if every and event == "seen" and (entry.read or not entry.shown):
                continue
            match event:
                case "read":
                    entry.read = entry.seen = True
                case "unread" if entry.place == "inbox":
                    entry.read = False
                case "seen":
                    entry.seen = True
                case "archived" if entry.place == "inbox":
                    entry.place, entry.read, entry.seen = "archived", True, True
                case "unarchived" if entry.place == "archived":
                    entry.place = "inbox"
                case "deleted":
                    entry.place = "deleted"

    def counts(self) -> tuple[int, int]:
        unread = [e for e in self.entries.values() if e.shown and e.place == "inbox" and not e.read]
        return len(unread), sum(not entry.seen for entry in unread)

    def listed(self, *places: str) -> list[str]:
        return [one for one, entry in reversed(self.entries.items()) if entry.place in places]


STEPS = st.tuples(st.sampled_from([*CALLS, *CALLS, "new"]), st.sets(st.integers(0, 7), max_size=3))


async def test_any_order_of_marks_leaves_what_the_model_says(local: Local, service: InboxService) -> None:
    async def check(steps: list[tuple[str, set[int]]]) -> None:
        person, model = local.somebody(), Model()
        for event, chosen in [("new", {0}), ("new", {1}), ("new", {0}), *steps]:
            known = list(model.entries)
            if event == "new":
                number = len(known)
                channel = "push" if 1 in chosen else "in_app"
                await local.db.ledger.insert_one(made := row(person, number, channel, now()))
                model.entries[made["notification_id"]] = Entry(channel == "in_app")
                continue
            named = [known[one] for one in sorted(chosen) if one < len(known)]
            try:
                await call(service, person, event, *named)
            except NotFound:
                assert model.entries[named[0]].place == "deleted"
            model.do(event, named, every=not named)
            assert await counts(service, person) == model.counts(), (event, named)
        assert await listed(service, person) == model.listed("inbox")
        assert await listed(service, person, "ARCHIVED") == model.listed("archived")
        assert await listed(service, person, "ALL") == model.listed("inbox", "archived")
        assert len(await listed(service, person, unread_only=True)) == model.counts()[0]

    loop = asyncio.get_running_loop()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, min_size=1, max_size=12))
    def run(steps: list[tuple[str, set[int]]]) -> None:
        asyncio.run_coroutine_threadsafe(check(steps), loop).result(60)

    await asyncio.to_thread(run)


async def two(local: Local) -> tuple[str, list[str]]:
    person = local.somebody()
    rows = [row(person, number, "in_app", now()) for number in range(2)]
    await local.db.ledger.insert_many(rows)
    return person, [one["notification_id"] for one in rows]


@pytest.mark.parametrize("event", [event for event in CALLS if event != "read"])
async def test_sockets_hear_of_each_mark(local: Local, service: InboxService, event: str) -> None:
    before = {"unread": "read", "unarchived": "archived"}.get(event)
    person, named = await two(local)
    if before:
        await call(service, person, before, *named)
    answer = await call(service, person, event, named[0])
    assert (answer.changed, answer.unread_count, answer.unseen_count) == {
        "unread": (1, 1, 0),
        "seen": (1, 2, 1),
        "archived": (1, 1, 1),
        "unarchived": (1, 0, 0),
        "deleted": (1, 1, 1),
    }[event]
    # Nothing changes, and nobody is told.
    if event != "deleted":
        assert (await call(service, person, event, named[0])).changed == 0
    answer = await call(service, person, event)
    assert answer.changed == 1
    moment = answer.time.ToJsonString()
    stamp = {"seen": "seen_time", "archived": "archive_time", "deleted": "delete_time"}.get(event)
    told = [one for one in await local.live(person) if one.event == event]
    one, all_of_them = (json.loads(vault.unseal(local.data_key, told.content)) for told in told)
    assert one.pop(stamp, None) is not None or stamp is None
    assert one == {"notification_ids": [named[0]]}
    assert all_of_them == {"all": True, "until": moment, **({stamp: moment} if stamp else {})}


async def test_what_is_deleted_stays_in_the_books(local: Local, service: InboxService) -> None:
    person, (one, other) = await two(local)
    before = await local.db.ledger.find_one({"_id": row_id(one, person)})
    await call(service, person, "deleted", one)
    after = await local.db.ledger.find_one({"_id": row_id(one, person)})
    assert before is not None
    assert after is not None
    assert after["deliveries"] == before["deliveries"]
    assert after["delete_time"] >= before["create_time"]
    for view in ("INBOX", "ARCHIVED", "ALL"):
        assert one not in await listed(service, person, view)
    for event in CALLS:
        with pytest.raises(NotFound):
            await call(service, person, event, one)
    assert await listed(service, person) == [other]


async def test_only_one_category_or_group(local: Local, service: InboxService) -> None:
    person = local.somebody()
    given = [{"category": "SOCIAL"}, {"group_key": "post:1"}, {"group_key": "post:2", "category": "SYSTEM"}]
    sent = [await local.send(user_id=person, type="IN_APP", **one) for one in given]
    async with local.dispatching():
        await local.dispatched()
    assert await listed(service, person, category="SOCIAL") == [sent[0]]
    assert await listed(service, person, group_key="post:1") == [sent[1]]
    assert await listed(service, person, group_key="post:2", unread_only=True) == [sent[2]]
    assert await listed(service, person, group_key="post:2", category="SOCIAL") == []
    await call(service, person, "archived", sent[2])
    assert await listed(service, person, category="SYSTEM") == []
    assert await listed(service, person, "ARCHIVED", category="SYSTEM") == [sent[2]]
