"""The sweeper: what it publishes again, and above all what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from crown import subjects
from crown.bus import Outgoing
from crown.clock import now
from crown.notification.v1.types_pb2 import DeliveryState
from crown.pull import Pull, ready
from services.ingest.books import sweep
from services.ingest.books.sweep import Sweeper
from tests.integration.local import Local

LONG_AGO = timedelta(minutes=10)
WORKER = subjects.worker("push", "normal")


@pytest.fixture(scope="module")
async def dispatching(local: Local) -> AsyncIterator[None]:
    """A dispatcher works all the time."""
    async with local.dispatching():
        yield


@pytest.fixture
async def clean(local: Local, dispatching: None) -> AsyncIterator[Local]:
    """Nothing in the ledger, and no worker that owes anything."""
    await local.db.ledger.delete_many({})
    for consumer in (WORKER, subjects.retrier("push", "normal")):
        await local.bus.ensure_consumer(consumer)
    await local.bus.api(f"STREAM.PURGE.{WORKER.stream}")
    yield local
    await local.bus.api(f"STREAM.PURGE.{WORKER.stream}")


@pytest.fixture
def sweeper(clean: Local) -> Sweeper:
    """Looks when it is told to."""
    return Sweeper(clean.bus, clean.store, 3600)


async def row(local: Local, age: timedelta = LONG_AGO, **delivery: Any) -> str:
    """A notification whose push delivery is as `delivery` says, changed `age` ago, and whose message is lost."""
    notification_id = await local.send(type="PUSH")
    await local.dispatched()
    await local.bus.api(f"STREAM.PURGE.{WORKER.stream}")
    fields = {"update_time": now() - age, **delivery}
    update: dict[str, Any] = {"$set": {f"deliveries.push.{name}": value for name, value in fields.items()}}
    if delivery.get("state") not in {None, DeliveryState.RETRYING}:
        update["$pull"] = {"open": "push"}
    await local.db.ledger.update_one({"notification_id": notification_id}, update)
    return notification_id


async def test_a_lost_delivery_is_published_again_and_once(clean: Local, sweeper: Sweeper) -> None:
    notification_id = await row(clean)
    assert await sweeper.sweep() == 1
    (event,) = await clean.delivered("push", notification_id)
    (found,) = await clean.rows(notification_id)
    assert event.delivery_id == found["deliveries"]["push"]["id"]
    assert event.user_id == found["user_id"]
    assert await sweeper.sweep() == 0


@pytest.mark.parametrize(
    ("age", "delivery"),
    [
        pytest.param(timedelta(seconds=30), {}, id="young"),
        pytest.param(LONG_AGO, {"state": DeliveryState.DELIVERED_TO_PROVIDER}, id="delivered"),
        pytest.param(LONG_AGO, {"state": DeliveryState.FAILED}, id="failed"),
        pytest.param(LONG_AGO, {"state": DeliveryState.UNKNOWN}, id="unknown"),
        pytest.param(LONG_AGO, {"state": DeliveryState.RETRYING, "due_time": 60}, id="retry ahead"),
        pytest.param(LONG_AGO, {"state": DeliveryState.RETRYING, "due_time": -2}, id="retry just due"),
    ],
)
async def test_what_is_left_alone(
    clean: Local, sweeper: Sweeper, age: timedelta, delivery: dict[str, Any]
) -> None:
    if "due_time" in delivery:
        delivery = {**delivery, "due_time": now() + timedelta(seconds=delivery["due_time"])}
    notification_id = await row(clean, age, **delivery)
    assert await sweeper.sweep() == 0
    assert await clean.delivered("push", notification_id) == []


async def test_a_retry_that_is_late_is_made_good_soon(clean: Local, sweeper: Sweeper) -> None:
    due = now() - timedelta(seconds=7)
    notification_id = await row(clean, timedelta(seconds=9), state=DeliveryState.RETRYING, due_time=due)
    assert await sweeper.sweep() == 1
    assert len(await clean.delivered("push", notification_id)) == 1
    assert await sweeper.sweep() == 0


async def test_a_backlog_is_not_doubled(
    clean: Local, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is away. What waits for it on the bus is old by now, and not stuck."""
    monkeypatch.setattr(sweep, "_GRACE", timedelta(seconds=0.5))
    found = [await clean.send(type="PUSH") for _ in range(50)]
    await clean.dispatched()
    await asyncio.sleep(1.2)
    for _ in range(3):
        assert await sweeper.sweep() == 0
    assert await clean.messages(WORKER.stream) == len(found)


async def test_what_was_swept_waits_with_the_backlog(
    clean: Local, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the worker is away, once is enough."""
    monkeypatch.setattr(sweep, "_GRACE", timedelta(seconds=0.3))
    monkeypatch.setattr(sweep, "_LATE", timedelta(seconds=0.3))
    await row(clean)
    await row(clean, state=DeliveryState.RETRYING, due_time=now() - LONG_AGO)
    assert await sweeper.sweep() == 2
    for _ in range(3):
        await asyncio.sleep(0.4)
        assert await sweeper.sweep() == 0
    assert await clean.messages(WORKER.stream) == 2


async def test_what_is_older_than_the_backlog_is_stuck_all_the_same(clean: Local, sweeper: Sweeper) -> None:
    lost = await row(clean)
    await clean.send(type="PUSH")
    await clean.dispatched()
    assert await sweeper.sweep() == 1
    assert len(await clean.delivered("push", lost)) == 1


async def test_what_a_worker_holds_counts_as_unsettled(clean: Local, sweeper: Sweeper) -> None:
    wake, stopping = asyncio.Event(), asyncio.Event()
    pull = Pull(clean.bus, WORKER, wake)
    await pull.start()
    await clean.send(type="PUSH")
    await clean.dispatched()
    while not len(pull):
        await ready(wake, stopping)
    (held,) = await pull.take(1)
    assert abs(await sweeper._oldest_unsettled("push", "normal") - held.time) < timedelta(milliseconds=1)
    await held.ack()
    await pull.stop()


async def test_a_channel_that_never_worked_has_settled_nothing(
    clean: Local, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its service was not started yet. Its backlog has no consumer, and is no more stuck for that."""
    monkeypatch.setattr(sweep, "_GRACE", timedelta(seconds=0.2))
    for consumer in (WORKER, subjects.retrier("push", "normal")):
        await clean.bus.api(f"CONSUMER.DELETE.{consumer.stream}.{consumer.name}")
    found = [await clean.send(type="PUSH") for _ in range(20)]
    await clean.dispatched()
    await asyncio.sleep(0.6)
    assert await sweeper.sweep() == 0
    assert await clean.messages(WORKER.stream) == len(found)


async def test_a_long_outage_sends_nothing_twice(
    clean: Local, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channel stands still. Deliveries wait for it on the bus, retries came due meanwhile, and one had got lost
    before: however often the sweeper looks, each has one message."""
    monkeypatch.setattr(sweep, "_GRACE", timedelta(seconds=0.3))
    monkeypatch.setattr(sweep, "_LATE", timedelta(seconds=0.3))
    await row(clean)
    waiting = [await clean.send(type="PUSH") for _ in range(20)]
    await clean.dispatched()
    retries = [await row(clean, timedelta(), state=DeliveryState.RETRYING, due_time=now()) for _ in range(5)]
    # Putting the rows there took all messages away.
    for notification_id, subject in (
        *((one, subjects.delivery("push", "normal")) for one in waiting),
        *((one, subjects.due("push", "normal")) for one in retries),
    ):
        await clean.bus.publish(Outgoing(subject, b"the message of " + notification_id.encode()))
    fresh = {"$set": {"deliveries.push.update_time": now()}}
    await clean.db.ledger.update_many({"notification_id": {"$in": waiting}}, fresh)
    counts = []
    for _ in range(4):
        await asyncio.sleep(0.4)
        counts.append(await sweeper.sweep())
    assert counts == [1, 0, 0, 0]
    assert await clean.messages(WORKER.stream) == len(waiting) + 1
    await clean.bus.api("STREAM.PURGE.RETRY")


async def test_a_stream_is_never_filled(
    clean: Local, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    notification_id = await row(clean)
    monkeypatch.setattr(sweep, "_FULL_MOST", 0.0)
    assert await sweeper.sweep() == 0
    monkeypatch.setattr(sweep, "_FULL_MOST", 0.5)
    assert await sweeper.sweep() == 1
    assert len(await clean.delivered("push", notification_id)) == 1


async def test_each_look_is_bounded(clean: Local, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_MOST", 3)
    for _ in range(5):
        await row(clean)
    assert [await sweeper.sweep() for _ in range(3)] == [3, 2, 0]
