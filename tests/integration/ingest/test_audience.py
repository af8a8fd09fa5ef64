"""Notifications to groups on real servers: who gets them, how they are listed, and what a crash leaves."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from crown import subjects
from crown.bus import Outgoing
from crown.clock import now
from crown.groups import Groups
from crown.ledger import Ledger
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.types_pb2 import NotificationStatus
from crown.store import Document
from crown.subjects import Consumer
from services.ingest.dispatch import audience, dispatcher, rows
from services.ingest.dispatch.audience import Audiences
from services.ingest.intake.keys import KeyBook
from services.ingest.overview import Overview
from tests.integration.local import Local
from tests.integration.rig import Rig, until

PAGE = 10
LANE = "bulk"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pages, and what a dead dispatcher held comes to the next one soon."""
    real = subjects.dispatcher

    def impatient(lane: str) -> Consumer:
        return Consumer(real(lane).stream, real(lane).name, real(lane).subject, ack_wait_s=1)

    monkeypatch.setattr(subjects, "dispatcher", impatient)
    monkeypatch.setattr(audience, "PAGE", PAGE)
    monkeypatch.setattr(dispatcher, "_EXTEND_S", 0.5)
    monkeypatch.setattr(dispatcher, "_PAUSE_S", 0.5)


@pytest.fixture
async def busy(local: Local) -> AsyncIterator[Local]:
    """Everything, while two dispatchers work side by side."""
    async with local.dispatching(), local.dispatching():
        yield local


async def group(local: Local, people: Sequence[str]) -> str:
    """A group of these people."""
    groups = Groups(local.db)
    made = await groups.put(local.somebody(), "group", False)
    if people:
        await groups.add(made, people)
    return made.group_id


def people(local: Local, count: int) -> list[str]:
    return [local.somebody() for _ in range(count)]


async def document(local: Local, notification_id: str) -> Document:
    found = await local.db.notifications.find_one({"_id": notification_id})
    assert found is not None
    return found


async def listed(local: Local, notification_id: str) -> int:
    """How many people it was for, once they are all listed and all that follows is worked."""

    async def done() -> bool:
        found = await local.db.notifications.find_one({"_id": notification_id})
        return found is not None and "listing" not in found

    await until(done, within_s=60)
    await local.dispatched(60)
    return int((await document(local, notification_id))["recipient_count"])


async def got(local: Local, notification_id: str) -> list[str]:
    """Who got it, once for each row."""
    return [row["user_id"] for row in await local.rows(notification_id)]


async def overview(local: Local, notification_id: str) -> tuple[int, int]:
    """Status and recipients, as senders see them."""
    found = await Overview(local.db, KeyBook(local.rig.redis, local.db)).find(notification_id)
    assert found is not None
    return found.status, found.recipient_count


async def sent(local: Local, *groups: str, **given: Any) -> str:
    return await local.send(user_ids=[], group_ids=groups, type="IN_APP", **given)


@pytest.mark.parametrize("count", [1, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE, 5 * PAGE + 3])
async def test_each_member_gets_it_once(busy: Local, count: int) -> None:
    members = people(busy, count)
    notification_id = await sent(busy, await group(busy, members))
    assert await listed(busy, notification_id) == count
    assert sorted(await got(busy, notification_id)) == sorted(members)
    assert await overview(busy, notification_id) == (NotificationStatus.DONE, count)


async def test_who_is_left_out_and_who_is_in_several_groups(busy: Local) -> None:
    """Each of them once, also in the count; a group that there is not is nobody."""
    members = people(busy, 6 * PAGE)
    first, second, third = members[: 3 * PAGE], members[PAGE:], members[::2]
    left_out = [members[0], members[2 * PAGE], members[-1], "stranger"]
    groups = [await group(busy, part) for part in (first, second, third, [])]
    notification_id = await sent(busy, groups[0], "no-such-group", *groups[1:], exclude_user_ids=left_out)
    count = await listed(busy, notification_id)
    assert sorted(await got(busy, notification_id)) == sorted(set(members) - set(left_out))
    assert count == 6 * PAGE - 3
    assert "twice" not in await document(busy, notification_id)


@pytest.mark.parametrize("who", ["a group that there is not", "nobody in it", "all left out"])
async def test_to_nobody_it_is_done_at_once(busy: Local, who: str) -> None:
    somebody = busy.somebody()
    groups = {"nobody in it": await group(busy, []), "all left out": await group(busy, [somebody])}
    notification_id = await sent(busy, groups.get(who, "no-such-group"), exclude_user_ids=[somebody])
    assert await listed(busy, notification_id) == 0
    assert await overview(busy, notification_id) == (NotificationStatus.DONE, 0)


async def test_until_all_are_listed_and_written_it_is_in_progress(local: Local) -> None:
    members = people(local, PAGE + 1)
    notification_id = await sent(local, await group(local, members))
    async with local.dispatching():
        await listed(local, notification_id)
    back = {"$set": {"listing": True, "recipient_count": 0}}
    await local.db.notifications.update_one({"_id": notification_id}, back)
    assert await overview(local, notification_id) == (NotificationStatus.IN_PROGRESS, 0)
    end = {"$set": {"recipient_count": PAGE + 1}, "$unset": {"listing": True}}
    await local.db.notifications.update_one({"_id": notification_id}, end)
    assert await overview(local, notification_id) == (NotificationStatus.DONE, PAGE + 1)
    await local.db.ledger.delete_one({"notification_id": notification_id})
    assert await overview(local, notification_id) == (NotificationStatus.IN_PROGRESS, PAGE + 1)


async def test_who_is_listed_twice_gets_it_once_and_counts_once(
    busy: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody joins an earlier group while it is listed."""

    async def nobody(*_: object) -> set[str]:
        return set()

    monkeypatch.setattr(Groups, "among", nobody)
    members = people(busy, 3 * PAGE)
    notification_id = await sent(
        busy, await group(busy, members[: 2 * PAGE]), await group(busy, members[PAGE:])
    )
    assert await listed(busy, notification_id) == 4 * PAGE
    assert sorted(await got(busy, notification_id)) == sorted(members)
    assert await overview(busy, notification_id) == (NotificationStatus.DONE, 3 * PAGE)


async def test_who_joined_an_earlier_group_after_it_was_sent_is_not_left_out(local: Local) -> None:
    """That group may have been listed before they were in it."""
    person = local.somebody()
    before = now() - timedelta(seconds=1)
    group_id = await group(local, [person])
    groups = Groups(local.db)
    assert await groups.among(group_id, [person, "stranger"], now()) == {person}
    assert await groups.among(group_id, [person], before) == set()
    assert await groups.among("no-such-group", [person], now()) == set()
    await groups.delete(group_id)
    assert await groups.among(group_id, [person], now()) == set()


# -- again


async def events(local: Local, notification_id: str) -> Counter[str]:
    """What was put onto the intake about it: listings, and pages."""
    raw = await local.stored(subjects.intake_stream(LANE), subjects.intake(LANE))
    found = [IntakeEvent.FromString(one) for one in raw]
    own = [event for event in found if event.notification_id == notification_id]
    return Counter("page" if event.user_ids else "listing" for event in own)


async def test_a_listing_that_comes_again_starts_no_other(busy: Local) -> None:
    """Each of its messages, while it goes on and after its end."""
    members = people(busy, 5 * PAGE + 1)
    accepted = busy.accepted(user_ids=[], group_ids=[await group(busy, members)], type="IN_APP")
    await asyncio.gather(*(busy.put(accepted) for _ in range(5)))
    await listed(busy, accepted.notification_id)
    assert await events(busy, accepted.notification_id) == {"listing": 5 + 5, "page": 6}
    await busy.put(accepted)
    await listed(busy, accepted.notification_id)
    assert await events(busy, accepted.notification_id) == {"listing": 6 + 5, "page": 6}
    assert sorted(await got(busy, accepted.notification_id)) == sorted(members)


async def test_it_starts_no_other_when_the_bus_knows_the_ids_no_longer(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notification itself says how far it is listed: what lags behind ends there."""
    real = Audiences._message

    def forgotten(self: Audiences, order: Any, event: IntakeEvent, _: str) -> Outgoing:
        return real(self, order, event, uuid4().hex)

    monkeypatch.setattr(Audiences, "_message", forgotten)
    members = people(local, 20 * PAGE)
    accepted = local.accepted(user_ids=[], group_ids=[await group(local, members)], type="IN_APP")
    await local.put(accepted)
    async with local.dispatching():
        await until(lambda: local.rows(accepted.notification_id), lambda found: len(found) > 3 * PAGE)
        for _ in range(5):
            await local.put(accepted)
        await listed(local, accepted.notification_id)
    found = await events(local, accepted.notification_id)
    assert found["page"] == 20
    assert sorted(await got(local, accepted.notification_id)) == sorted(members)


async def test_what_is_cancelled_is_listed_no_further(local: Local) -> None:
    members = people(local, 3 * PAGE)
    accepted = local.accepted(user_ids=[], group_ids=[await group(local, members)], type="IN_APP")
    await local.put(accepted)
    # As it stands where it was cancelled before its listing came up.
    stored = rows.notification(IntakeEvent.FromString(accepted.parts[0]))
    await Ledger(local.db).insert_notifications([{**stored, "cancel_time": now()}])
    async with local.dispatching():
        assert await listed(local, accepted.notification_id) == 0
    assert await got(local, accepted.notification_id) == []


async def test_pages_of_what_is_cancelled_are_not_written(local: Local) -> None:
    members = people(local, 3 * PAGE)
    notification_id = await sent(local, await group(local, members))
    async with local.dispatching():
        await listed(local, notification_id)
        await local.db.notifications.update_one({"_id": notification_id}, {"$set": {"cancel_time": now()}})
        await local.db.ledger.delete_many({"notification_id": notification_id})
        for raw in await local.stored(subjects.intake_stream(LANE), subjects.intake(LANE)):
            if IntakeEvent.FromString(raw).notification_id == notification_id:
                await local.bus.publish(Outgoing(subjects.intake(LANE), raw))
        await local.dispatched()
    assert await got(local, notification_id) == []


PLACES = (
    "audience.before_publish",
    "audience.after_publish",
    "dispatch.before_ledger",
    "dispatch.after_ledger",
    "dispatch.after_publish",
)


@pytest.mark.parametrize("place", PLACES)
async def test_a_crash_anywhere_loses_nobody_and_doubles_nobody(
    rig: Rig, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(audience, "PAGE", 1_000)
    members = [f"{local.somebody()}-{number}" for number in range(2_500)]
    group_id = await group(local, members)
    armed = tmp_path / "armed"
    armed.touch()
    notification_id = await sent(local, group_id)
    command = ["-m", "services.ingest", "dispatch"]
    async with rig.started(command, "dispatch", CROWN_FAILPOINT=f"{place}:{armed}") as service:
        assert await service.ended() == -signal.SIGKILL
    async with local.dispatching():
        assert await listed(local, notification_id) == 2_500
    assert sorted(await got(local, notification_id)) == sorted(members)
    assert await overview(local, notification_id) == (NotificationStatus.DONE, 2_500)


@pytest.mark.parametrize("server", ["nats", "mongod"])
async def test_servers_that_die_under_it_lose_nobody(rig: Rig, local: Local, server: str) -> None:
    members = people(local, 40 * PAGE)
    notification_id = await sent(local, await group(local, members))
    async with local.dispatching():
        await until(lambda: local.rows(notification_id), lambda found: len(found) >= PAGE)
        await rig.killed(server)
        assert await listed(local, notification_id) == 40 * PAGE
    assert sorted(await got(local, notification_id)) == sorted(members)
