"""Erasing a person: what nobody can read any more, what is not sent any more, and what stays in the books."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import bson
import pytest
from bson import json_util

from crown import subjects
from crown.bus import Outgoing
from crown.choices import Choices
from crown.clock import now, timestamp
from crown.ids import webhook as hook
from crown.kept import Where, of
from crown.notification.v1.dead_letter_service_pb2 import DeadLetterFilter
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.types_pb2 import Channel, DeliveryState, DeviceKind, Platform, SuppressionReason
from crown.outcome import Delivered, Discard, Retry
from crown.people import People
from crown.preferences import Preferences
from crown.recipients import Contact, Device, Recipients
from crown.store import Document
from crown.suppressions import Suppressions
from crown.vault import Key, VaultError
from services.ingest.people.erasure import Eraser
from services.ingest.people.finisher import Finisher
from services.ingest.schedules.book import Book, Plan
from tests.integration.crown.scripted import Scripted, delivering
from tests.integration.local import Local
from tests.integration.rig import Rig, until

CANARY = "canary9z"
DATA = {"title": f"title {CANARY}", "message": CANARY, "extra": {"k": CANARY}}
PHONE = "+14155559999"
EVERYWHERE = ["EMAIL", "PUSH", "SMS", "REAL_TIME", "IN_APP"]


@pytest.fixture
def eraser(rig: Rig, local: Local) -> Eraser:
    return Eraser(local.bus, local.store, rig.redis, local.data_key)


@pytest.fixture
def finisher(eraser: Eraser) -> Finisher:
    """One that makes the last pass at once."""
    return Finisher(eraser, timedelta(0))


async def erase(finisher: Finisher, person: str) -> None:
    """All passes."""
    await finisher.go_on(await finisher.begin(person))
    await finisher.finish()


@pytest.fixture
async def known(local: Local) -> str:
    """A person with all that can be known of one."""
    person = local.somebody()
    recipients = Recipients(local.db, People(local.db, local.data_key))
    await recipients.replace_contact(person, Contact(f"{CANARY}@heron.example", PHONE, "en", "Etc/UTC"))
    device = Device(f"d-{person}", person, f"token-{CANARY}", DeviceKind.TOKEN, Platform.WEB, now(), now())
    await recipients.put_device(device)
    await Preferences(local.db).replace(person, Choices())
    await local.db.members.insert_one(
        {"_id": f"g/{person}", "group_id": "g", "user_id": person, "join_time": now()}
    )
    await local.rig.redis.set(f"crown:presence:active:{person}", 1)
    return person


async def everything_in_the_store(local: Local) -> str:
    """Every document of every collection, in the clear."""
    names = await local.db.list_collection_names()
    return "\n".join(
        [f"{name} {json_util.dumps(row)}" for name in names async for row in local.db[name].find({})]
    )


async def collections_that_name(local: Local, person: str) -> set[str]:
    """Byte by byte, so that what stands in a message counts too."""
    names = await local.db.list_collection_names()
    return {
        name
        for name in names
        if any([person.encode() in bson.encode(row) async for row in local.db[name].find({})])
    }


async def written_by_others(local: Local, person: str, row: Document) -> None:
    """What parts of the suite that do not run here would have written about a person and a row of theirs."""
    about = {
        "notification_id": row["notification_id"],
        "user_id": person,
        "create_time": now(),
        "time": now(),
    }
    word = hook(row["deliveries"]["push"]["id"], "DELIVERED_TO_PROVIDER")
    await local.db.timeline.insert_one({"_id": "t", **about})
    await local.db.webhooks.insert_one({"_id": word, **about, "open": []})
    await local.db.digests.insert_one({"_id": "d", **about})
    await local.db.dead_letters.insert_one({"_id": "l", **about, "state": 1})
    await local.db.broadcast_marks.insert_one({"_id": f"{person}/b", "user_id": person})
    asked = DeadLetterFilter(user_id=person).SerializeToString()
    await local.db.replays.insert_one({"_id": "r", "filter": asked, "by": "ann", "create_time": now()})


async def everything_on_the_bus(local: Local) -> list[bytes]:
    found = []
    for stream in (s["name"] for s in subjects.streams(1 << 20)):
        found += await local.stored(stream, ">")
    return found


async def test_nothing_of_them_is_left(rig: Rig, local: Local, finisher: Finisher, known: str) -> None:
    email, push, sms = Scripted(), Scripted(), Scripted()
    push.steps[known] = [Delivered("m")]
    email.steps[known] = [Retry("E1", 600.0)]
    sms.steps[known] = [Discard("NO", "1")]
    async with (
        local.dispatching(),
        delivering(local, Channel.EMAIL, email),
        delivering(local, Channel.PUSH, push),
        delivering(local, Channel.SMS, sms),
    ):
        sent = await local.send(user_id=known, channels=EVERYWHERE, data=DATA)
        await local.send(user_id=known, type="IN_APP", data=DATA, group_key="post:1")
        shared = await local.send(user_ids=[known, (other := local.somebody())], type="IN_APP", data=DATA)
        await local.becomes(sent, "sms", "FAILED")
        await local.becomes(sent, "email", "RETRYING")
        await local.becomes(sent, "push", "DELIVERED_TO_PROVIDER")
        await until(lambda: local.rows(shared))
    (row,) = await local.rows(sent)
    notification = await local.db.notifications.find_one({"_id": sent})
    assert notification is not None
    assert len(await local.live(known)) == 1
    assert await local.db.threads.count_documents({}) == 1
    await written_by_others(local, known, row)
    # Everywhere where it can be, so that what is looked for afterwards was there.
    assert await collections_that_name(local, known) == {
        kept.name for kept in of(Where.MONGODB).values() if kept.of_a_person.startswith("id") if kept.erased
    } - {"erasures"}

    await erase(finisher, known)

    assert await collections_that_name(local, known) == set()
    text = await everything_in_the_store(local)
    assert known not in text
    assert CANARY not in text
    assert PHONE not in text
    assert await local.live(known) == []
    assert await rig.redis.exists(f"crown:presence:active:{known}") == 0
    raw = b"".join(await everything_on_the_bus(local))
    assert CANARY.encode() not in raw
    for key in await rig.redis.keys("*"):
        assert CANARY not in str(key)
        assert CANARY.encode() not in (await rig.redis.dump(key) or b"")
    # Not a key that is left opens what they were told; what others were told with them is theirs.
    keys: list[Key] = [
        local.data_key,
        *[local.data_key.unwrap(p["key"]) async for p in local.db.people.find({})],
    ]
    for one in keys:
        with pytest.raises(VaultError):
            one.unwrap(row["wrapped_key"])
        with pytest.raises(VaultError):
            one.open(notification["content"])
    (others,) = [found for found in await local.rows(shared) if found["user_id"] == other]
    assert others["wrapped_key"]
    # Its sender still sees what became of it.
    (left,) = await local.rows(sent)
    states = {name: DeliveryState.Type.Name(found["state"]) for name, found in left["deliveries"].items()}
    assert states == {
        "email": "SUPPRESSED",
        "push": "DELIVERED_TO_PROVIDER",
        "sms": "FAILED",
        "real_time": "DELIVERED",
        "in_app": "DELIVERED",
    }
    assert left["open"] == []
    assert len(await local.rows(shared)) == 2
    assert await local.db.erasures.count_documents({"next_time": {"$exists": True}}) == 0
    # Twice is once.
    await erase(finisher, known)
    assert await local.rows(sent) == [left]


async def test_the_key_goes_first(local: Local, finisher: Finisher, known: str) -> None:
    """When the answer comes all is unreadable, whatever is left to do."""
    await finisher.begin(known)
    assert await local.db.people.find_one({"_id": known}) is None
    recipients = Recipients(local.db, People(local.db, local.data_key))
    found = await recipients.contact(known)
    assert (found.email, found.phone) == ("", "")


async def test_schedules_forget_them(local: Local, finisher: Finisher, known: str) -> None:
    """One that was for them alone goes; of others they are taken out, also where nobody had hashed whom it names."""
    book = Book(local.db, local.data_key)
    title: Any = {"title": "Hi"}
    other = local.somebody()
    plans = {
        "alone": SendNotificationRequest(user_id=known, data=title, address={"email": "x@y.example"}),  # type: ignore[arg-type]
        "last": SendNotificationRequest(user_ids=[known], data=title),
        "among": SendNotificationRequest(user_ids=[known, other], data=title),
        "before hashes": SendNotificationRequest(user_ids=[other, known], data=title),
        "left out": SendNotificationRequest(group_ids=["g"], exclude_user_ids=[known], data=title),
        "actor": SendNotificationRequest(user_id=other, data=title, actor={"user_id": known, "name": "Ann"}),  # type: ignore[arg-type]
        "others'": SendNotificationRequest(user_id=f"{known}2", data=title),
    }
    for name, notification in plans.items():
        await book.add(name, "feed", Plan(name, "0 9 * * *", "UTC", notification), now())
    await local.db.schedules.update_one({"_id": "before hashes"}, {"$unset": {"people": ""}})
    before = {row["_id"]: row async for row in local.db.schedules.find({})}

    await erase(finisher, known)

    after = {row["_id"]: row async for row in local.db.schedules.find({})}
    assert after.keys() == plans.keys() - {"alone", "last"}
    assert after["others'"] == before["others'"]
    left = {name: book.notification(row) for name, row in after.items()}
    assert [name for name, one in left.items() if name != "others'" and known in str(one)] == []
    assert list(left["among"].user_ids) == list(left["before hashes"].user_ids) == [other]
    assert (list(left["left out"].group_ids), left["actor"].user_id) == (["g"], other)
    assert not left["actor"].HasField("actor")
    # When it is sent next is not changed by it.
    assert {after[name]["next_time"] for name in after} == {before["among"]["next_time"]}
    # Who comes later may be in schedules again.
    await book.add("new", "feed", Plan("new", "0 9 * * *", "UTC", plans["alone"]), now())
    await erase(finisher, local.somebody())
    assert await local.db.schedules.count_documents({"_id": "new"}) == 1


async def test_letters_that_nobody_could_read_forget_them(
    local: Local, finisher: Finisher, known: str
) -> None:
    """Such a letter has the whole order in it: the others of it may still get it."""
    other = local.somebody()
    order = local.accepted(user_ids=[known, other], type="IN_APP", data=DATA).parts[0]
    rows = {
        "shared": {"stream": subjects.intake_stream("normal"), "body": order},
        "garbage": {"stream": subjects.intake_stream("normal"), "body": b"\xff" + known.encode()},
        "delivery": {"stream": subjects.delivery_stream("normal"), "body": b"\x0a\x01a" + known.encode()},
        "others": {"stream": subjects.delivery_stream("normal"), "body": b"\x0a\x01a" + other.encode()},
    }
    await local.db.dead_letters.insert_many(
        {"_id": name, "user_id": "", "create_time": now(), "state": 1, **row} for name, row in rows.items()
    )
    replay = {"state": "DONE", "create_time": now()}
    theirs, of_others = DeadLetterFilter(user_id=known), DeadLetterFilter(user_id=other)
    await local.db.replays.insert_many(
        [
            {"_id": "theirs", "filter": theirs.SerializeToString(), **replay},
            {"_id": "of others", "filter": of_others.SerializeToString(), **replay},
        ]
    )

    await erase(finisher, known)

    left = {row["_id"]: row["body"] async for row in local.db.dead_letters.find({})}
    assert left.keys() == {"shared", "others"}
    assert list(IntakeEvent.FromString(left["shared"]).user_ids) == [other]
    assert IntakeEvent.FromString(left["shared"]).content == IntakeEvent.FromString(order).content
    assert [row["_id"] async for row in local.db.replays.find({})] == ["of others"]


async def test_what_a_filter_knew_of_them_is_forgotten(rig: Rig, finisher: Finisher, known: str) -> None:
    for key in ("sends", "reads"):
        await rig.redis.set(f"crown:filter:{key}:{known}", b"x")
    await erase(finisher, known)
    assert await rig.redis.keys(f"*{known}*") == []


async def test_a_suppression_outlives_the_person(local: Local, finisher: Finisher, known: str) -> None:
    suppressions = Suppressions(local.db, local.data_key)
    address = f"{CANARY}@heron.example"
    await suppressions.add(Channel.EMAIL, address, SuppressionReason.COMPLAINT, "sendgrid")
    await erase(finisher, known)
    assert address in await suppressions.among(Channel.EMAIL, [address])
    assert CANARY not in str(await local.db.suppressions.find().to_list())


async def test_what_was_dispatched_before_is_not_sent(local: Local, finisher: Finisher, known: str) -> None:
    """Erased between dispatch and send: the worker finds the key gone, whoever ended the delivery."""
    async with local.dispatching():
        sent = await local.send(user_id=known, type="EMAIL", data=DATA)
        await local.dispatched()
    await local.db.people.delete_one({"_id": known})
    email = Scripted()
    async with delivering(local, Channel.EMAIL, email):
        assert await local.becomes(sent, "email", "SUPPRESSED") == "ERASED"
    assert email.sent_to(known) == []


@pytest.mark.parametrize("several", [False, True], ids=["alone", "among others"])
async def test_what_waits_for_its_time_is_deleted(
    local: Local, finisher: Finisher, known: str, several: bool
) -> None:
    """Its sender's books have an end at once, for the erased alone: the others still get theirs."""
    other = local.somebody()
    people = {"user_ids": [other, known]} if several else {"user_id": known}
    address = {} if several else {"address": {"email": f"{CANARY}@inline.example"}}
    later = timestamp(now() + timedelta(days=30))
    async with local.dispatching():
        sent = await local.send(channels=["IN_APP"], send_at=later, data=DATA, **people, **address)
        others = await local.send(user_id=other, channels=["IN_APP"], send_at=later, data=DATA)
        await local.dispatched()
        for one in (sent, others):
            assert len(await local.stored(subjects.SCHEDULE, subjects.schedules(one))) == 1
        await erase(finisher, known)
        (row,) = await until(lambda: local.rows(sent))
        await local.dispatched()
    left = {
        one: [
            list(IntakeEvent.FromString(raw).user_ids) for raw in await local.stored(subjects.SCHEDULE, where)
        ]
        for one in (sent, others)
        for where in [subjects.schedules(one)]
    }
    assert left == {sent: [[other]] if several else [], others: [[other]]}
    assert known not in json_util.dumps(row)
    assert row["deliveries"]["in_app"]["reason"] == "ERASED"
    assert known.encode() not in b"".join(await local.stored(subjects.SCHEDULE, ">"))


async def test_who_was_erased_before_it_was_put_off_waits_for_nothing(
    local: Local, finisher: Finisher, known: str
) -> None:
    later = timestamp(now() + timedelta(days=30))
    before = local.accepted(user_ids=[known, local.somebody()], type="IN_APP", send_at=later, data=DATA)
    await local.put(before)
    await erase(finisher, known)
    async with local.dispatching():
        await local.dispatched()
    (row,) = await local.rows(before.notification_id)
    assert row["deliveries"]["in_app"]["reason"] == "ERASED"
    (left,) = await local.stored(subjects.SCHEDULE, subjects.schedules(before.notification_id))
    assert known.encode() not in left


async def test_who_comes_later_keeps_what_waits_for_them(
    local: Local, finisher: Finisher, known: str
) -> None:
    mark = await finisher.begin(known)
    later = timestamp(now() + timedelta(days=30))
    async with local.dispatching():
        sent = await local.send(user_id=known, type="IN_APP", send_at=later, data=DATA)
        await local.dispatched()
        await finisher.go_on(mark)
        await finisher.finish()
        await local.dispatched()
    (left,) = await local.stored(subjects.SCHEDULE, subjects.schedules(sent))
    assert known.encode() in left
    assert await local.rows(sent) == []


async def test_what_was_accepted_before_does_not_bring_them_back(
    local: Local, finisher: Finisher, known: str
) -> None:
    """It waits in the intake while its person is erased, with an address of its own."""
    address = {"email": f"{CANARY}@inline.example"}
    before = local.accepted(user_id=known, channels=["EMAIL", "IN_APP"], data=DATA, address=address)
    await local.put(before)
    await erase(finisher, known)
    email = Scripted()
    async with local.dispatching(), delivering(local, Channel.EMAIL, email):
        await local.dispatched()
        after = await local.send(user_id=known, channels=["EMAIL", "IN_APP"], data=DATA)
        await local.becomes(after, "in_app", "DELIVERED")
    assert await local.db.ledger.count_documents({"user_id": known}) == 1
    (row,) = await local.rows(before.notification_id)
    assert known not in json_util.dumps(row)
    assert "unread" not in row
    assert {(found["state"], found["reason"]) for found in row["deliveries"].values()} == {
        (DeliveryState.SUPPRESSED, "ERASED")
    }
    assert email.sent == []
    # Coming again, after a crash say, it is the same row.
    await local.bus.publish(Outgoing(subjects.intake("normal"), before.parts[0]))
    async with local.dispatching():
        await local.dispatched()
    assert len(await local.rows(before.notification_id)) == 1


async def test_who_comes_later_is_somebody_new(local: Local, finisher: Finisher, known: str) -> None:
    """And what is left to do of the erasure passes them by."""
    mark = await finisher.begin(known)
    await finisher.go_on(mark)
    recipients = Recipients(local.db, People(local.db, local.data_key))
    await recipients.replace_contact(known, Contact("new@heron.example"))
    async with local.dispatching():
        sent = await local.send(user_id=known, type="IN_APP", data=DATA)
        await local.becomes(sent, "in_app", "DELIVERED")
    await finisher.finish()
    assert (await recipients.contact(known)).email == "new@heron.example"
    (row,) = await local.rows(sent)
    assert (row["user_id"], row["unread"]) == (known, True)


@pytest.mark.parametrize("step", ["_take_out", "_hide", "_leave_remains"])
async def test_what_broke_off_is_finished(
    local: Local, eraser: Eraser, finisher: Finisher, known: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local.dispatching():
        sent = await local.send(user_id=known, channels=EVERYWHERE, data=DATA)
        await local.dispatched()
    with monkeypatch.context() as patch:

        async def broken(*_: Any) -> None:
            raise OSError

        patch.setattr(eraser, step, broken)
        await erase(finisher, known)
        assert known in await everything_in_the_store(local)
    # Time passes.
    await local.db.erasures.update_many({"user_id": known}, {"$set": {"next_time": now()}})
    await finisher.finish()
    await finisher.finish()
    assert known not in await everything_in_the_store(local)
    assert len(await local.rows(sent)) == 1


async def test_what_a_worker_holds_ends_as_its_attempt_ends(
    local: Local, finisher: Finisher, known: str
) -> None:
    """Its provider may have it already: the books are to say so, and not that it was held back."""
    async with local.dispatching():
        sent = await local.send(user_id=known, type="EMAIL", data=DATA)
        await local.dispatched()
    (row,) = await local.rows(sent)
    delivery_id = row["deliveries"]["email"]["id"]
    await local.db.claims.insert_one({"_id": f"{delivery_id}:1", "time": now(), "row": row["_id"]})
    await finisher.go_on(await finisher.begin(known))
    assert await local.state(sent, "email") == ("PENDING", "")
    await finisher.finish()
    (left,) = await local.rows(sent)
    assert left["deliveries"]["email"]["state"] == DeliveryState.SUPPRESSED


async def test_a_thousand_rows(local: Local, finisher: Finisher, known: str) -> None:
    """More than one step takes."""
    async with local.dispatching():
        ids = [await local.send(user_id=known, channels=["IN_APP"], data=DATA) for _ in range(1_200)]
        await local.dispatched()
    await erase(finisher, known)
    assert await local.db.ledger.count_documents({"user_id": known}) == 0
    assert await local.db.ledger.count_documents({"notification_id": {"$in": ids}}) == 1_200
