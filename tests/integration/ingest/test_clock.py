"""The clock: what was deferred goes out when it is due, once, by what holds then."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crown import vault
from crown.clock import now
from crown.ledger import Ledger
from crown.notification.v1.events_pb2 import NotificationContent, OutcomeEvent
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, Priority, TimelineEvent
from crown.preferences import Preferences
from crown.store import Document, insert_new
from crown.subjects import CHANNELS
from services.ingest.books import sweep
from services.ingest.books.sweep import Sweeper
from services.ingest.clock import clock as clocks
from services.ingest.inbox import marks
from services.ingest.timeline import Timeline
from tests.integration.local import Local
from tests.integration.rig import Rig, until

PENDING, DEFERRED, DELIVERED = DeliveryState.PENDING, DeliveryState.DEFERRED, DeliveryState.DELIVERED


async def deferred(local: Local, channels: dict[str, dict[str, Any]], **given: Any) -> Document:
    """A notification whose row says that these channels are deferred, as dispatch writes it: due five seconds ago
    unless `channels` say otherwise."""
    row = await sent(local, channels=[name.upper() for name in channels], **given)
    due = now() - timedelta(seconds=5)
    found = {
        channel: {
            "state": DEFERRED,
            "decided": DEFERRED,
            "reason": "QUIET_HOURS",
            "due_time": due,
            "decided_reason": fields.get("reason", "QUIET_HOURS"),
            **fields,
        }
        for channel, fields in channels.items()
    }
    change = {
        f"deliveries.{c}.{name}": value for c, fields in found.items() for name, value in fields.items()
    }
    times = [one["due_time"] for one in found.values() if one["state"] == DEFERRED]
    change["wake_time"] = min(times)
    if found.keys() & {"in_app", "real_time"}:
        change["hidden"] = True
    update: Document = {"$set": change, "$pull": {"open": {"$in": list(found)}}}
    if "hidden" in change:
        update["$unset"] = {"unread": ""}
    await local.db.ledger.update_one({"_id": row["_id"]}, update)
    return await one(local, row)


async def sent(local: Local, **given: Any) -> Document:
    notification_id = await local.send(**given)
    async with local.dispatching():
        (row,) = await until(lambda: local.rows(notification_id))
        await local.dispatched()
    return row


async def one(local: Local, row: Document) -> Document:
    found = await local.db.ledger.find_one({"_id": row["_id"]})
    assert found is not None
    return found


async def looked(local: Local, lane: Priority.Type.ValueType = Priority.NORMAL) -> int:
    return await local.clock().look(lane)


async def published(local: Local, channel: str, row: Document) -> int:
    """How often a delivery was published since it was released; dispatch did it once before that."""
    return len(await local.delivered(channel, row["notification_id"])) - 1


async def story(local: Local, row: Document) -> list[tuple[str, str, str]]:
    document = await local.db.notifications.find_one({"_id": row["notification_id"]})
    assert document is not None
    page = await Timeline(local.db).page(document, "", 50, "")
    return [
        (CHANNELS[entry.channel], DeliveryState.Type.Name(entry.state), entry.reason)
        for entry in page.entries
        if entry.event == TimelineEvent.RELEASED
    ]


async def test_what_is_due_goes_out_and_what_is_not_stays(local: Local) -> None:
    later = now() + timedelta(hours=1)
    row = await deferred(local, {"push": {}, "email": {"due_time": later}})
    assert await looked(local) == 1
    after = await one(local, row)
    push, email = after["deliveries"]["push"], after["deliveries"]["email"]
    assert (push["state"], push["reason"], push["due_time"]) == (PENDING, "", None)
    assert now() - push["reopen_time"] < timedelta(seconds=10)
    assert (email["state"], email["due_time"], after["wake_time"]) == (DEFERRED, later, later)
    assert after["open"] == ["push"]
    assert await published(local, "push", row) == 1
    assert await published(local, "email", row) == 0
    assert await story(local, row) == [("push", "PENDING", "")]
    assert await looked(local) == 0
    assert await published(local, "push", row) == 1

    await local.db.ledger.update_one(
        {"_id": row["_id"]},
        {"$set": {"wake_time": row["wake_time"], "deliveries.email.due_time": row["wake_time"]}},
    )
    assert await looked(local) == 1
    after = await one(local, row)
    assert "wake_time" not in after
    assert sorted(after["open"]) == ["email", "push"]
    # Nothing is told again of what went out before.
    assert (await published(local, "push", row), await published(local, "email", row)) == (1, 1)


async def test_what_was_not_to_be_seen_yet_comes_into_the_inbox_and_to_sockets(local: Local) -> None:
    person = local.somebody()
    row = await deferred(
        local,
        {"in_app": {"reason": "LOCAL_TIME"}, "real_time": {"reason": "LOCAL_TIME"}},
        user_id=person,
        data={"title": "canary"},
    )
    assert len(await local.live(person)) == 1
    assert await looked(local) == 1
    after = await one(local, row)
    assert "hidden" not in after
    assert (after["unread"], after["unseen"]) == (True, True)
    assert after["create_time"] > row["create_time"]
    assert {after["deliveries"][channel]["state"] for channel in ("in_app", "real_time")} == {DELIVERED}
    _, frame = await local.live(person)
    assert frame.notification_id == row["notification_id"]
    assert frame.create_time.ToMilliseconds() == round(after["create_time"].timestamp() * 1000)
    content = NotificationContent.FromString(vault.unseal(local.data_key, frame.content))
    assert NotificationData.FromString(content.data).title == "canary"


async def test_what_comes_into_the_inbox_joins_what_it_is_about(local: Local) -> None:
    person = local.somebody()
    row = await deferred(local, {"in_app": {"reason": "LOCAL_TIME"}}, user_id=person, group_key="post:1")
    await local.db.ledger.update_one({"_id": row["_id"]}, {"$unset": {"thread": ""}})
    await local.db.threads.delete_many({})
    first = await sent(local, user_id=person, type="IN_APP", group_key="post:1")
    assert await looked(local) == 1
    after, first = await one(local, row), await one(local, first)
    assert after["thread"] == first["thread"]
    assert (after.get("shelf"), first.get("shelf")) == (None, "folded")


@pytest.mark.parametrize("lane", ["critical", "bulk"])
async def test_each_lane_is_its_own(local: Local, lane: str) -> None:
    row = await deferred(local, {"push": {}}, priority=lane.upper())
    assert await looked(local, Priority.NORMAL) == 0
    assert await looked(local, Priority.Type.Value(lane.upper())) == 1
    assert len(await local.delivered("push", row["notification_id"], lane)) == 2


async def test_what_expired_while_it_waited_says_so_and_its_sender_hears_it(local: Local) -> None:
    row = await deferred(local, {"push": {}})
    end = now() - timedelta(seconds=1)
    await local.db.ledger.update_one({"_id": row["_id"]}, {"$set": {"expire_time": end}})
    await local.db.notifications.update_one(
        {"_id": row["notification_id"]}, {"$set": {"webhook_url": "https://hooks.example/x"}}
    )
    assert await looked(local) == 1
    assert await local.state(row["notification_id"], "push") == ("EXPIRED", "EXPIRED: QUIET_HOURS")
    assert (await one(local, row))["open"] == []
    assert await published(local, "push", row) == 0
    assert await story(local, row) == [("push", "EXPIRED", "EXPIRED: QUIET_HOURS")]
    words = [OutcomeEvent.FromString(raw) for raw in await local.stored("EVENT", "crown.event.decided.push")]
    (word,) = [found for found in words if found.notification_id == row["notification_id"]]
    assert (word.state, word.reason) == (DeliveryState.EXPIRED, "EXPIRED: QUIET_HOURS")


async def test_an_opt_out_since_then_counts(local: Local) -> None:
    row = await deferred(local, {"push": {}}, category="SOCIAL")
    await Preferences(local.db).choose(row["user_id"], Category.SOCIAL, Channel.PUSH, on=False)
    assert await looked(local) == 1
    assert await local.state(row["notification_id"], "push") == ("SUPPRESSED", "PREFERENCE_OFF")
    assert await published(local, "push", row) == 0


async def test_what_was_cancelled_meanwhile_is_not_released(local: Local) -> None:
    row = await deferred(local, {"push": {}})
    await local.db.notifications.update_one({"_id": row["notification_id"]}, {"$set": {"cancel_time": now()}})
    assert await looked(local) == 1
    assert (await local.state(row["notification_id"], "push"))[0] == "CANCELLED"
    assert await published(local, "push", row) == 0


async def test_a_row_that_wakes_for_nothing_is_put_right(local: Local) -> None:
    row = await deferred(local, {"push": {"state": PENDING}, "email": {}})
    await local.db.ledger.update_one({"_id": row["_id"]}, {"$set": {"deliveries.email.state": DELIVERED}})
    assert await looked(local) == 0
    assert "wake_time" not in await one(local, row)


# -- escalations


async def escalation(local: Local) -> Document:
    return await deferred(local, {"sms": {"reason": "ESCALATION", "unless_read": True}})


async def test_an_escalation_goes_out_where_it_was_not_read(local: Local) -> None:
    row = await escalation(local)
    assert await looked(local) == 1
    assert await published(local, "sms", row) == 1


async def test_an_escalation_is_not_needed_where_it_was_read(local: Local) -> None:
    row = await escalation(local)
    marking = local.marking()
    await marking.mark_one(marks.READ, row["user_id"], row["notification_id"])
    assert await looked(local) == 1
    assert await local.state(row["notification_id"], "sms") == ("SUPPRESSED", "READ")
    assert await published(local, "sms", row) == 0
    assert await story(local, row) == [("sms", "SUPPRESSED", "READ")]


async def test_reading_at_the_last_moment_stops_it(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read after the clock has looked and decided, and before the row is changed."""
    row = await escalation(local)
    marking = local.marking()

    async def slow(collection: Any, documents: Any) -> set[str]:
        found = await insert_new(collection, documents)
        await marking.mark_one(marks.READ, row["user_id"], row["notification_id"])
        return found

    monkeypatch.setattr("services.ingest.clock.clock.insert_new", slow)
    assert await looked(local) == 0
    assert await looked(local) == 1
    assert await local.state(row["notification_id"], "sms") == ("SUPPRESSED", "READ")
    assert await published(local, "sms", row) == 0
    assert await story(local, row) == [("sms", "SUPPRESSED", "READ")]


# -- many, several, and what goes wrong


async def many(local: Local, count: int, **fields: Any) -> list[Document]:
    people = [local.somebody() for _ in range(count)]
    notification_id = await local.send(user_ids=people, channels=["REAL_TIME", "PUSH"], priority="NORMAL")
    async with local.dispatching():
        await until(lambda: local.rows(notification_id), lambda rows: len(rows) == count, 30)
        await local.dispatched()
    due = now() - timedelta(seconds=5)
    waiting = {"state": DEFERRED, "reason": "LOCAL_TIME", "due_time": due}
    change = {
        f"deliveries.{c}.{name}": value for c in ("push", "real_time") for name, value in waiting.items()
    }
    await local.db.ledger.update_many(
        {"notification_id": notification_id},
        {
            "$set": {**change, "wake_time": due, "hidden": True, "open": [], **fields},
            "$unset": {"unread": ""},
        },
    )
    return await local.rows(notification_id)


async def test_several_clocks_release_everything_once(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "_BATCH", 50)
    rows = await many(local, 400)
    counts = await asyncio.gather(*(looked(local) for _ in range(4)))
    assert sum(counts) + await looked(local) == 400
    for row in rows[::40]:
        assert len(await local.live(row["user_id"])) == 2
    assert len(await local.delivered("push", rows[0]["notification_id"])) == 800
    assert all(row["open"] == ["push"] for row in await local.rows(rows[0]["notification_id"]))
    entries = {"notification_id": rows[0]["notification_id"], "event": TimelineEvent.RELEASED}
    assert await local.db.timeline.count_documents(entries) == 800


async def test_a_row_that_cannot_be_released_holds_up_no_other(local: Local) -> None:
    rows = await many(local, 20)
    spoilt = rows[7]
    await local.db.ledger.update_one(
        {"_id": spoilt["_id"]}, {"$set": {"deliveries.push.due_time": "tomorrow"}}
    )
    assert await looked(local) == 19
    await local.db.ledger.delete_one({"_id": spoilt["_id"]})


PLACES = ("clock.before_update", "clock.after_update", "clock.after_publish")


@pytest.mark.parametrize("place", PLACES)
async def test_a_clock_that_dies_at_any_step_loses_nothing(
    rig: Rig, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(sweep, "_GRACE", timedelta(0))
    rows = await many(local, 30)
    armed = tmp_path / "armed"
    armed.touch()
    command = ["-m", "services.ingest", "dispatch"]
    async with rig.started(command, "dispatch", CROWN_FAILPOINT=f"{place}:{armed}") as service:
        assert await service.ended() == -signal.SIGKILL
    await looked(local)
    # Nobody works on push here: what it has not settled would tell the sweeper that it will still come to it.
    monkeypatch.setattr(Sweeper, "_oldest_unsettled", _settled)
    await Sweeper(local.bus, local.store, 1).sweep()
    notification_id = rows[0]["notification_id"]
    after = await local.rows(notification_id)
    assert all("wake_time" not in row and row["open"] == ["push"] for row in after)
    events = await local.delivered("push", notification_id)
    # Once by dispatch before all this, then at least once more, always as the same delivery.
    ids = [event.delivery_id for event in events]
    assert all(ids.count(row["deliveries"]["push"]["id"]) >= 2 for row in rows)
    assert len(set(ids)) == 30
    entries = {"notification_id": notification_id, "event": TimelineEvent.RELEASED}
    assert await local.db.timeline.count_documents(entries) == 60


async def _settled(*_: Any) -> Any:
    return now() + timedelta(seconds=1)


async def test_the_dispatch_role_has_a_clock(rig: Rig, local: Local) -> None:
    row = await deferred(local, {"push": {}})
    async with rig.running("dispatch") as service:
        await local.becomes(row["notification_id"], "push", "PENDING")
        assert await service.metric("crown_release_lateness_seconds_count", of="deferred") == 1
    entry = await Ledger(local.db).load((await local.delivered("push", row["notification_id"]))[0])
    assert entry is not None
    assert now() - entry.begin_time < timedelta(seconds=30)
