"""The books: they balance whatever happens, and what is missing in them is found."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from crown import metrics, subjects
from crown.choices import Choices
from crown.clock import now, timestamp
from crown.notification.v1.books_service_pb2 import GetBooksRequest, GetBooksResponse
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.outcome import Delivered, Discard, Retry
from crown.people import People
from crown.preferences import Preferences
from crown.recipients import Contact, Recipients
from services.ingest.books import balance
from services.ingest.books.auditor import Auditor
from services.ingest.books.books import BooksService
from services.ingest.books.sweep import Sweeper
from tests.integration.crown.scripted import Scripted, delivering
from tests.integration.local import Local
from tests.integration.rig import until

SOON = timedelta(0)
LONG_AGO = timedelta(minutes=10)
MIXED = ["EMAIL", "PUSH", "IN_APP"]


@pytest.fixture
async def clean(local: Local) -> Local:
    """Nothing in the books."""
    await local.db.ledger.delete_many({})
    await local.db.notifications.delete_many({})
    for lane in subjects.LANES.values():
        await local.bus.api(f"STREAM.PURGE.{subjects.intake_stream(lane)}")
        await local.bus.api(f"STREAM.PURGE.{subjects.delivery_stream(lane)}")
    return local


@pytest.fixture
def service(clean: Local) -> BooksService:
    return BooksService(clean.bus, clean.db, SOON)


async def books(service: BooksService, **given: Any) -> GetBooksResponse:
    return await service.GetBooks(GetBooksRequest(**given), None)


async def dispatched(local: Local, *given: dict[str, Any]) -> list[str]:
    """These, sent and dispatched."""
    async with local.dispatching():
        ids = [await local.send(**one) for one in given]
        await local.dispatched()
    return ids


def states(found: GetBooksResponse) -> dict[tuple[str, str], int]:
    return {
        (Channel.Type.Name(entry.channel), DeliveryState.Type.Name(entry.state)): entry.count
        for entry in found.deliveries
    }


async def test_they_balance_whatever_happens(clean: Local, service: BooksService) -> None:
    """Sends to one and to many, what is held back, expires, fails and is tried again, in any order."""
    dice = random.Random(7)
    email, push = Scripted(), Scripted()
    people = [clean.somebody() for _ in range(40)]
    for person in people[:10]:
        await Preferences(clean.db).replace(person, Choices(categories={"social": {"email": False}}))
    recipients = Recipients(clean.db, People(clean.db, clean.data_key))
    for person in people:
        await recipients.replace_contact(person, Contact(f"{person}@heron.example"))
        email.steps[person] = dice.choices([Delivered("m"), Discard("NO", "1"), Retry("E1", 600.0)], k=40)
        push.steps[person] = dice.choices([Delivered("m"), Discard("NO", "1")], k=40)
    count = 0
    async with (
        clean.dispatching(),
        delivering(clean, Channel.EMAIL, email),
        delivering(clean, Channel.PUSH, push),
    ):
        for _ in range(60):
            some = dice.sample(people, dice.choice([1, 1, 5]))
            expires = {"expires_at": timestamp(now() - timedelta(seconds=1))} if dice.random() < 0.1 else {}
            channels = dice.sample(MIXED, dice.randint(1, 3))
            await clean.send(user_ids=some, channels=channels, kind="like", **expires)
            count += len(some)
            if dice.random() < 0.2:
                assert (await books(service)).difference == 0
        await clean.dispatched()
        for channel in ("email", "push"):
            worker = subjects.worker(channel, "normal")
            await until(partial(clean.backlog, worker), lambda left: left == 0)
    found = await books(service)
    assert (found.notifications, found.recipients, found.rows) == (60, count, count)
    assert (found.difference, found.dispatching, list(found.notification_ids)) == (0, 0, [])
    rows = await clean.db.ledger.find({}).to_list()
    assert sum(states(found).values()) == sum(len(row["deliveries"]) for row in rows)
    in_flight = sum(one.count for one in found.in_flight)
    final = sum(n for (_, state), n in states(found).items() if state not in {"PENDING", "RETRYING"})
    assert final + in_flight == sum(states(found).values())
    assert {state for _, state in states(found)} >= {"SUPPRESSED", "EXPIRED", "FAILED", "RETRYING"}


async def test_a_missing_row_is_found(clean: Local, service: BooksService) -> None:
    alone, several, _ = await dispatched(clean, {}, {"user_ids": [clean.somebody() for _ in range(3)]}, {})
    assert (await books(service)).difference == 0
    for notification_id in (alone, several):
        await clean.db.ledger.delete_one({"notification_id": notification_id})
    found = await books(service)
    assert (found.difference, set(found.notification_ids)) == (2, {alone, several})
    assert (found.recipients, found.rows, found.dispatching) == (5, 3, 0)


async def test_it_is_found_among_many(
    clean: Local, service: BooksService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance, "_FEW", 3)
    ids = await dispatched(clean, *[{} for _ in range(60)])
    await clean.db.ledger.delete_many({"notification_id": {"$in": [ids[7], ids[41]]}})
    found = await books(service)
    assert (found.difference, set(found.notification_ids)) == (2, {ids[7], ids[41]})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"$set": {"open": []}}, id="pending and not listed"),
        pytest.param({"$set": {"deliveries.email.state": DeliveryState.FAILED}}, id="final and still listed"),
        pytest.param(
            {"$set": {"deliveries.email.state": DeliveryState.DEFERRED, "open": []}},
            id="deferred to no time",
        ),
    ],
)
async def test_a_delivery_that_nobody_would_find(
    clean: Local, service: BooksService, change: dict[str, Any]
) -> None:
    lost, _ = await dispatched(clean, {"type": "EMAIL"}, {"type": "EMAIL"})
    await clean.db.ledger.update_one({"notification_id": lost}, change)
    found = await books(service)
    assert (found.difference, list(found.notification_ids)) == (1, [lost])


async def test_what_dispatch_is_at_work_on_is_not_missing(clean: Local, service: BooksService) -> None:
    """Its message is not settled: it comes again, and the rest is written then."""
    (notification_id,) = await dispatched(clean, {"user_ids": [clean.somebody() for _ in range(3)]})
    await clean.send()
    # As if written while the one before it was still at work.
    await clean.db.ledger.delete_one({"notification_id": notification_id})
    await clean.db.notifications.update_one({"_id": notification_id}, {"$set": {"create_time": now()}})
    await clean.db.ledger.update_many({"notification_id": notification_id}, {"$set": {"create_time": now()}})
    found = await books(service, end_time=timestamp(now() + timedelta(seconds=1)))
    assert (found.difference, found.dispatching) == (0, 1)
    (normal,) = [one for one in found.intake if one.lane == 2 or one.waiting]
    assert normal.waiting + normal.taken == 1


async def test_what_is_to_be_sent_later_is_not_missing(clean: Local, service: BooksService) -> None:
    (notification_id,) = await dispatched(clean, {"user_ids": [clean.somebody() for _ in range(3)]})
    await clean.db.ledger.delete_many({})
    later = {"$set": {"send_time": now() + timedelta(hours=1)}}
    await clean.db.notifications.update_one({"_id": notification_id}, later)
    found = await books(service)
    assert (found.difference, found.recipients, found.dispatching) == (0, 3, 3)
    # And cancelled, it never will.
    await clean.db.notifications.update_one({"_id": notification_id}, {"$set": {"cancel_time": now()}})
    found = await books(service)
    assert (found.difference, found.recipients, found.dispatching) == (0, 0, 0)


async def test_the_oldest_in_flight_and_what_is_late(clean: Local, service: BooksService) -> None:
    old, _, deferred, late = await dispatched(clean, *[{"type": "EMAIL"} for _ in range(4)])
    before = now() - LONG_AGO
    await clean.db.ledger.update_one({"notification_id": old}, {"$set": {"create_time": before}})
    for notification_id, wakes in ((deferred, now() + LONG_AGO), (late, before)):
        fields = {"wake_time": wakes, "open": [], "deliveries.email.state": DeliveryState.DEFERRED}
        await clean.db.ledger.update_one({"notification_id": notification_id}, {"$set": fields})
    found = await books(service)
    (email,) = [one for one in found.in_flight if one.channel == Channel.EMAIL]
    assert (email.count, email.oldest_time) == (2, timestamp(before))
    assert (found.deferred, found.late) == (2, 1)


async def test_only_what_was_accepted_in_the_stretch(clean: Local, service: BooksService) -> None:
    await dispatched(clean, {}, {})
    end = now() + timedelta(milliseconds=1)
    await asyncio.sleep(0.002)
    await dispatched(clean, {})
    assert (await books(service, end_time=timestamp(end))).notifications == 2
    assert (await books(service, start_time=timestamp(end))).notifications == 1


async def test_counting_takes_an_index(clean: Local, service: BooksService) -> None:
    """Rows with nothing open have their place in it, too; and no other row is looked at."""
    await dispatched(clean, *[{} for _ in range(5)])
    start = now()
    await dispatched(clean, {})
    where = {**balance._LANED, **balance._within(start, now())}
    plan = await clean.db.command(
        {"explain": {"count": "ledger", "query": where, "hint": "open"}, "verbosity": "executionStats"}
    )
    stats = plan["executionStats"]
    assert stats["totalDocsExamined"] <= 2
    assert stats["executionStages"]["nReturned"] in (0, 1)


async def test_the_metric_tells_it_until_it_has_come(clean: Local) -> None:
    auditor = Auditor(clean.bus, clean.store, SOON)
    await dispatched(clean, {"type": "EMAIL"})
    assert await auditor.audit() == 0
    (other,) = await dispatched(clean, {"type": "EMAIL"})
    row = await clean.db.ledger.find_one_and_delete({"notification_id": other})
    assert row is not None
    for _ in range(2):
        assert await auditor.audit() == 1
        assert metrics.BOOKS_DIFFERENCE._value.get() == 1
    await clean.db.ledger.insert_one(row)
    assert await auditor.audit() == 0
    assert metrics.BOOKS_IN_FLIGHT.labels("email")._value.get() == 2


async def test_what_was_released_and_not_published_is_swept(clean: Local, service: BooksService) -> None:
    """Whoever released a deferred delivery died before its message was out: it is PENDING like any other."""
    (notification_id,) = await dispatched(clean, {"type": "EMAIL"})
    await clean.bus.api(f"STREAM.PURGE.{subjects.delivery_stream('normal')}")
    moment = now() - LONG_AGO
    fields = {
        "reopen_time": moment,
        "update_time": moment,
        "decided": DeliveryState.DEFERRED,
        "due_time": None,
    }
    update = {"$set": {f"deliveries.email.{name}": value for name, value in fields.items()}}
    await clean.db.ledger.update_one({"notification_id": notification_id}, update)
    for consumer in (subjects.worker("email", "normal"), subjects.retrier("email", "normal")):
        await clean.bus.ensure_consumer(consumer)
    assert await Sweeper(clean.bus, clean.store, 3600).sweep() == 1
    assert len(await clean.delivered("email", notification_id)) == 1
    assert (await books(service)).difference == 0
