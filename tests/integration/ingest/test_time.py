"""Times that senders ask for, from the request to what goes out: at nine in the morning of each person, and on one
more channel where it was not read. The hours pass by setting the clock's clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crown.clock import now
from crown.notification.v1.types_pb2 import DeliveryState, Priority
from crown.store import Document
from services.ingest.inbox import marks
from tests.integration.local import Local
from tests.integration.rig import until

ZONES = ("Asia/Tokyo", "America/New_York")


async def row_of(local: Local, **given: Any) -> Document:
    async with local.dispatching():
        notification_id = await local.send(**given)
        (row,) = await until(lambda: local.rows(notification_id))
        await local.dispatched()
    return row


async def state(local: Local, row: Document, channel: str) -> tuple[int, str]:
    found = await local.db.ledger.find_one({"_id": row["_id"]})
    assert found is not None
    return found["deliveries"][channel]["state"], found["deliveries"][channel]["reason"]


async def looked_at(local: Local, monkeypatch: pytest.MonkeyPatch, moment: datetime) -> int:
    with monkeypatch.context() as patch:
        patch.setattr("services.ingest.clock.clock.now", lambda: moment)
        return await local.clock().look(Priority.NORMAL)


def next_nine(zone: str) -> datetime:
    local = now().astimezone(ZoneInfo(zone))
    day = local.date() if local.time() < time(9) else local.date() + timedelta(days=1)
    return datetime.combine(day, time(9), ZoneInfo(zone)).astimezone(UTC)


async def test_each_person_gets_it_at_nine_of_their_own_morning(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {}
    for zone in sorted(ZONES, key=next_nine):
        person = local.somebody()
        await local.db.contacts.insert_one({"_id": person, "time_zone": zone})
        rows[zone] = await row_of(local, user_id=person, channels=["IN_APP", "PUSH"], local_time="09:00")
        assert rows[zone]["wake_time"] == next_nine(zone)
        assert rows[zone]["hidden"] is True
    first, second = rows
    assert await looked_at(local, monkeypatch, next_nine(first) - timedelta(seconds=1)) == 0
    assert await looked_at(local, monkeypatch, next_nine(first) + timedelta(seconds=1)) == 1
    for channel, sent in (("in_app", DeliveryState.DELIVERED), ("push", DeliveryState.PENDING)):
        assert await state(local, rows[first], channel) == (sent, "")
        assert await state(local, rows[second], channel) == (DeliveryState.DEFERRED, "LOCAL_TIME")
    assert await looked_at(local, monkeypatch, next_nine(second) + timedelta(seconds=1)) == 1
    for row in rows.values():
        assert len(await local.delivered("push", row["notification_id"])) == 1


@pytest.mark.parametrize("reads", [True, False], ids=["read", "not read"])
async def test_a_text_message_follows_where_it_was_not_read(
    local: Local, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    row = await row_of(
        local,
        user_id=local.somebody(),
        type="IN_APP",
        category="SYSTEM",
        priority="NORMAL",
        escalations=[{"channel": "SMS", "after": timedelta(minutes=10)}],
    )
    due = row["create_time"] + timedelta(minutes=10)
    assert row["wake_time"] == due
    assert await looked_at(local, monkeypatch, due - timedelta(seconds=1)) == 0
    if reads:
        marking = local.marking()
        await marking.mark_one(marks.READ, row["user_id"], row["notification_id"])
    assert await looked_at(local, monkeypatch, due + timedelta(seconds=1)) == 1
    found = (DeliveryState.SUPPRESSED, "READ") if reads else (DeliveryState.PENDING, "")
    assert await state(local, row, "sms") == found
    assert len(await local.delivered("sms", row["notification_id"])) == (0 if reads else 1)
