"""Retention on a real store: what is old goes whole, by category, and nothing that is not final does."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from crown.clock import now
from crown.ledger import rows_of
from services.ingest.books import retention
from services.ingest.books.retention import Retention
from tests.integration.local import Local
from tests.integration.rig import until


async def sent(local: Local, **given: Any) -> str:
    found = await local.send(**{"type": "IN_APP", **given})
    async with local.dispatching():
        await local.dispatched()
    await local.db.timeline.insert_one({"_id": f"{found}:x", "notification_id": found, "time": now()})
    return found


async def aged(local: Local, notification_id: str, days: int) -> None:
    """As if it had been sent so long ago."""
    moment = now() - timedelta(days=days, minutes=1)
    await local.db.notifications.update_one({"_id": notification_id}, {"$set": {"create_time": moment}})
    await local.db.ledger.update_many(rows_of(notification_id), {"$set": {"create_time": moment}})


async def left(local: Local, notification_id: str) -> tuple[int, int, int]:
    """Notifications, rows and entries of the timeline."""
    return (
        await local.db.notifications.count_documents({"_id": notification_id}),
        await local.db.ledger.count_documents(rows_of(notification_id)),
        await local.db.timeline.count_documents({"notification_id": notification_id}),
    )


async def clear(local: Local, present: datetime | None = None) -> int:
    return await Retention(local.store).clear(asyncio.Event(), present or now())


@pytest.mark.parametrize(
    ("category", "days"), [("ACTIVITY", 90), ("SYSTEM", 90), ("MARKETING", 30), ("SECURITY", 365)]
)
async def test_each_category_is_kept_as_long_as_it_is_said(local: Local, category: str, days: int) -> None:
    old, younger = await sent(local, category=category), await sent(local, category=category)
    await aged(local, old, days)
    await aged(local, younger, days - 1)
    assert await clear(local) == 1
    assert await left(local, old) == (0, 0, 0)
    assert await left(local, younger) == (1, 1, 1)


@pytest.mark.parametrize("step", [1, 3, 1_000])
async def test_it_goes_in_slices(local: Local, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(retention, "_SLICE", step)
    old = await sent(local, user_ids=[local.somebody() for _ in range(7)])
    other = await sent(local)
    await aged(local, old, 91)
    assert await clear(local) == 1
    assert await left(local, old) == (0, 0, 0)
    assert await left(local, other) == (1, 1, 1)


@pytest.mark.parametrize(
    ("row", "notification"),
    [
        ({"open": ["push"]}, {}),
        ({"wake_time": now()}, {}),
        ({}, {"listing": True}),
        ({}, {"send_time": now() + timedelta(days=1)}),
    ],
    ids=["open", "deferred", "being listed", "to be sent"],
)
async def test_what_is_not_final_stays(
    local: Local, row: dict[str, Any], notification: dict[str, Any]
) -> None:
    people = [local.somebody() for _ in range(3)]
    old, final = await sent(local, user_ids=people), await sent(local)
    await aged(local, old, 400)
    await aged(local, final, 300)
    if row:
        await local.db.ledger.update_one({"_id": f"{old}/{people[1]}"}, {"$set": row})
    if notification:
        await local.db.notifications.update_one({"_id": old}, {"$set": notification})
    # It holds up nothing behind it.
    assert await clear(local) == 1
    assert await left(local, old) == (1, 3, 1)
    assert await left(local, final) == (0, 0, 0)
    await local.db.ledger.update_many(rows_of(old), {"$set": {"open": []}, "$unset": {"wake_time": ""}})
    await local.db.notifications.update_one({"_id": old}, {"$unset": {"listing": "", "send_time": ""}})
    assert await clear(local) == 1


async def test_a_broadcast_stays_as_long_as_it_is_in_inboxes(local: Local) -> None:
    old = await sent(local)
    await aged(local, old, 91)
    await local.db.notifications.update_one({"_id": old}, {"$set": {"everyone": True}})
    await local.db.broadcasts.insert_one({"_id": old, "number": 1})
    assert await clear(local) == 0
    await local.db.broadcasts.delete_one({"_id": old})
    assert await clear(local) == 1


async def test_a_crash_in_the_middle_is_made_good(local: Local) -> None:
    old = await sent(local)
    await aged(local, old, 91)
    await local.db.ledger.delete_many(rows_of(old))
    assert await clear(local) == 1
    assert await left(local, old) == (0, 0, 0)


async def test_a_key_is_good_as_long_as_its_notification_is_kept(local: Local) -> None:
    person = local.somebody()
    accepted = local.accepted("once", user_id=person, type="IN_APP")
    async with local.dispatching():
        for _ in range(2):
            await local.put(accepted)
            await local.dispatched()
        assert await local.db.ledger.count_documents({"user_id": person}) == 1
        await aged(local, accepted.notification_id, 91)
        assert await clear(local) == 1
        await local.put(accepted)
        await local.dispatched()
    (row,) = await local.rows(accepted.notification_id)
    assert row["create_time"] > now() - timedelta(days=1)


async def test_it_works_by_itself(local: Local) -> None:
    old = await sent(local)
    await aged(local, old, 91)
    async with local.working(Retention(local.store).run):
        await until(lambda: left(local, old), lambda found: found == (0, 0, 0))


async def test_it_looks_at_nothing_that_is_young(local: Local) -> None:
    await sent(local)
    where = {"category": 1, "create_time": {"$lt": now() - timedelta(days=90)}}
    explained = await local.db.command(
        {"explain": {"find": "notifications", "filter": where, "sort": {"category": 1, "create_time": 1}},
         "verbosity": "executionStats"}
    )  # fmt: skip
    assert explained["executionStats"]["totalKeysExamined"] <= 1
