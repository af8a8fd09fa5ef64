"""Digests: what waits for one goes out in it, once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from crown import failpoint
from crown.choices import Choices, Digest
from crown.clock import now
from crown.notification.v1.events_pb2 import NotificationContent
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import DeliveryState, Priority, Rhythm
from crown.people import People
from crown.preferences import Preferences
from crown.store import Document
from services.ingest.decide import Digest as Due
from services.ingest.digest import builder
from services.ingest.inbox import marks
from services.ingest.timeline import Timeline
from tests.integration.local import Local
from tests.integration.rig import until

HOUR = datetime(2026, 1, 1, 9, tzinfo=UTC)
STEPS = ("digest.after_document", "digest.after_row", "digest.after_publish", "clock.before_update")


class Crash(BaseException):
    """The process dies here."""


async def chooses(local: Local, user_id: str, **given: Any) -> None:
    hourly = {"activity": {"email": Digest(Rhythm.HOURLY)}}
    await Preferences(local.db).replace(user_id, Choices(**{"digests": hourly, **given}))


async def comments(local: Local, user_id: str, count: int, **given: Any) -> list[str]:
    """So many comments that wait for the e-mail digest of the hour."""
    ids = [
        await local.send(
            user_id=user_id,
            kind="comment",
            channels=["IN_APP", "EMAIL"],
            data={"title": f"Comment {number}", "message": "Nice", "action_url": f"/posts/{number}"},
            **given,
        )
        for number in range(count)
    ]
    async with local.dispatching():
        for one in ids:
            await until(lambda one=one: local.rows(one))  # type: ignore[misc]
        await local.dispatched()
    return ids


async def hour_ends(local: Local, user_id: str) -> None:
    """What waits is due now: as items of the digest of an hour that has passed, always the same one."""
    past = now() - timedelta(seconds=5)
    digest = Due.at(user_id, "email", "activity", HOUR).id
    await local.db.ledger.update_many(
        {"user_id": user_id, "deliveries.email.state": DeliveryState.DEFERRED},
        {"$set": {"wake_time": past, "deliveries.email.due_time": past, "deliveries.email.digest": digest}},
    )


async def look(local: Local) -> None:
    await local.clock().look(Priority.NORMAL)


async def digests(local: Local, user_id: str) -> list[Document]:
    return [row async for row in local.db.ledger.find({"user_id": user_id, "kind": builder.KIND})]


async def mailed(local: Local, row: Document) -> int:
    return len(await local.delivered("email", row["notification_id"]))


async def says(local: Local, row: Document) -> NotificationData:
    notification = await local.db.notifications.find_one({"_id": row["notification_id"]})
    assert notification is not None
    keys = await People(local.db, local.data_key).keys([row["user_id"]])
    content = keys[row["user_id"]].unwrap(row["wrapped_key"]).open(notification["content"])
    return NotificationData.FromString(NotificationContent.FromString(content).data)


async def states(local: Local, ids: list[str]) -> set[tuple[str, str]]:
    return {await local.state(one, "email") for one in ids}


async def test_what_happens_within_the_hour_is_one_mail(local: Local) -> None:
    await chooses(local, ann := local.somebody())
    ids = await comments(local, ann, 3)
    assert await states(local, ids) == {("DEFERRED", "DIGEST")}
    assert {await local.state(one, "in_app") for one in ids} == {("DELIVERED", "")}
    await look(local)
    assert not await digests(local, ann), "before its time"

    await hour_ends(local, ann)
    await look(local)
    (row,) = await digests(local, ann)
    assert await states(local, ids) == {("DIGESTED", row["notification_id"])}
    assert await mailed(local, row) == 1
    assert row["hidden"]
    assert "unread" not in row
    data = await says(local, row)
    assert data.title == "3 updates for you"
    told = MessageToDict(data.extra)["items"]
    assert [item["title"] for item in told] == ["Comment 2", "Comment 1", "Comment 0"]
    for one in ids:
        notification = await local.db.notifications.find_one({"_id": one})
        page = await Timeline(local.db).page(notification or {}, ann, 100, "")
        assert DeliveryState.DIGESTED in [entry.state for entry in page.entries]

    await look(local)
    assert len(await digests(local, ann)) == await mailed(local, row) == 1


async def test_one_item_reads_as_it_would_have_by_itself(local: Local) -> None:
    await chooses(local, ann := local.somebody())
    await comments(local, ann, 1)
    await hour_ends(local, ann)
    await look(local)
    (row,) = await digests(local, ann)
    data = await says(local, row)
    assert (data.title, data.message, data.action_url) == ("Comment 0", "Nice", "/posts/0")


async def test_several_clocks_build_one(local: Local) -> None:
    await chooses(local, ann := local.somebody())
    ids = await comments(local, ann, 5)
    await hour_ends(local, ann)
    await asyncio.gather(*(look(local) for _ in range(4)))
    await look(local)
    (row,) = await digests(local, ann)
    assert await states(local, ids) == {("DIGESTED", row["notification_id"])}
    # Published more than once it may be, and claims see to it that it is sent once.
    assert len({event.delivery_id for event in await local.delivered("email", row["notification_id"])}) == 1
    assert (await says(local, row)).title == "5 updates for you"


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_loses_no_item_and_doubles_none(
    step: str, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    await chooses(local, ann := local.somebody())
    ids = await comments(local, ann, 3)
    await hour_ends(local, ann)

    def die(place: str) -> None:
        if place == step:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(failpoint, "reach", die)
        with pytest.raises(Crash):
            await look(local)
    # What comes after the digest was written down waits for the next one, and is not lost.
    late = await comments(local, ann, 1)
    await hour_ends(local, ann)
    await look(local)
    (row,) = await digests(local, ann)
    assert await states(local, ids) == {("DIGESTED", row["notification_id"])}
    assert await mailed(local, row) >= 1
    assert (await says(local, row)).title == "3 updates for you"
    assert await local.state(late[0], "email") == ("DEFERRED", "DIGEST")
    (waiting,) = await local.rows(late[0])
    assert waiting["wake_time"] == waiting["deliveries"]["email"]["due_time"] > now()

    await local.db.ledger.update_one(
        {"_id": waiting["_id"]},
        {"$set": {"wake_time": (past := now() - timedelta(seconds=1)), "deliveries.email.due_time": past}},
    )
    await look(local)
    assert len(await digests(local, ann)) == 2
    assert (await local.state(late[0], "email"))[0] == "DIGESTED"


async def test_what_was_cancelled_or_read_is_left_out_and_nothing_is_no_mail(local: Local) -> None:
    await chooses(local, ann := local.somebody())
    cancelled, read, left = await comments(local, ann, 3)
    await local.db.ledger.update_one(
        {"notification_id": cancelled}, {"$set": {"deliveries.email.state": DeliveryState.CANCELLED}}
    )
    await local.marking().mark_one(marks.READ, ann, read)
    await hour_ends(local, ann)
    await look(local)
    (row,) = await digests(local, ann)
    assert (await says(local, row)).title == "Comment 2"
    assert await local.state(read, "email") == ("SUPPRESSED", "READ")
    assert await local.state(left, "email") == ("DIGESTED", row["notification_id"])

    await chooses(local, ben := local.somebody())
    (only,) = await comments(local, ben, 1)
    await local.marking().mark_one(marks.READ, ben, only)
    await hour_ends(local, ben)
    await look(local)
    assert not await digests(local, ben)
    assert await local.db.digests.count_documents({"user_id": ben}) == 0


async def test_who_wants_none_of_it_any_more_gets_none(local: Local) -> None:
    await chooses(local, ann := local.somebody())
    ids = await comments(local, ann, 2)
    await chooses(local, ann, categories={"activity": {"email": False}})
    await hour_ends(local, ann)
    await look(local)
    assert not await digests(local, ann)
    assert await states(local, ids) == {("SUPPRESSED", "PREFERENCE_OFF")}


async def test_an_item_that_expires_meanwhile_says_so(local: Local) -> None:
    await chooses(local, ann := local.somebody())
    ids = await comments(local, ann, 2)
    await local.db.ledger.update_one(
        {"notification_id": ids[0]}, {"$set": {"expire_time": now() - timedelta(seconds=1)}}
    )
    await hour_ends(local, ann)
    await look(local)
    (row,) = await digests(local, ann)
    assert await local.state(ids[0], "email") == ("EXPIRED", "EXPIRED: DIGEST")
    assert await local.state(ids[1], "email") == ("DIGESTED", row["notification_id"])


async def test_an_erased_person_gets_none(local: Local) -> None:
    await chooses(local, ann := local.somebody())
    ids = await comments(local, ann, 2)
    await local.db.people.delete_one({"_id": ann})
    await hour_ends(local, ann)
    await look(local)
    assert not await digests(local, ann)
    assert await states(local, ids) == {("SUPPRESSED", "ERASED")}
