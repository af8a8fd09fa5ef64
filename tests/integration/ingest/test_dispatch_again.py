"""Dispatch when something goes wrong: a bug, a copy, a crash between any two of its steps, a server that dies."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path

import pytest
import structlog

from crown import backoff, logs, subjects
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.types_pb2 import DeliveryState
from crown.subjects import Consumer
from services.ingest.dispatch import dispatcher as dispatch
from services.ingest.dispatch.orders import Order
from services.ingest.dispatch.work import Work
from services.ingest.intake.accept import Accepted
from tests.integration.local import Local
from tests.integration.rig import Rig, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dead dispatcher held comes to the next one soon."""
    real = subjects.dispatcher

    def impatient(lane: str) -> Consumer:
        return Consumer(real(lane).stream, real(lane).name, real(lane).subject, ack_wait_s=1)

    monkeypatch.setattr(subjects, "dispatcher", impatient)
    monkeypatch.setattr(dispatch, "_EXTEND_S", 0.5)
    monkeypatch.setattr(dispatch, "_PAUSE_S", 0.5)


async def test_a_bug_about_one_does_not_hold_up_the_others(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispatcher of this test fails on one notification, as a bug would: always."""
    unlucky = local.accepted(type="PUSH", user_id="unlucky")
    tries: list[int] = []
    real = Work.dispatch

    async def buggy(self: Work, orders: list[Order]) -> None:
        if any(order.event.notification_id == unlucky.notification_id for order in orders):
            tries.append(len(orders))
            raise KeyError("canary")
        await real(self, orders)

    monkeypatch.setattr(Work, "dispatch", buggy)
    monkeypatch.setattr(dispatch, "_TRIES_MOST", 2)
    monkeypatch.setattr(backoff, "FIRST_S", 0.2)
    before = len(await local.letters("dispatch"))
    others = [local.accepted(type="PUSH") for _ in range(20)]
    for accepted in [*others[:10], unlucky, *others[10:]]:
        await local.put(accepted)
    with structlog.testing.capture_logs([logs.with_ids]) as logged:
        await _until_buried(local, others, before)
    (letter,) = (await local.letters("dispatch"))[before:]
    alone = [line for line in logged if line["event"] == "dispatch_failed" and line["count"] == 1]
    assert {line["notification_id"] for line in alone} == {unlucky.notification_id}
    assert (letter.reason, letter.error) == ("RETRIES_EXHAUSTED", "KeyError")
    assert IntakeEvent.FromString(letter.body).notification_id == unlucky.notification_id
    assert tries[-2:] == [1, 1] or 1 in tries
    assert await local.rows(unlucky.notification_id) == []


async def _until_buried(local: Local, others: list[Accepted], before: int) -> None:
    """Until the others are dispatched, and there is a letter more than before."""
    async with local.dispatching():
        for accepted in others:
            await until(partial(local.rows, accepted.notification_id))
        await until(lambda: local.letters("dispatch"), lambda found: len(found) > before)
        await local.dispatched()


# -- again


async def test_the_same_message_stored_twice_is_one_notification(local: Local) -> None:
    """As when a publish was not confirmed and went again."""
    accepted = local.accepted(channels=["PUSH", "REAL_TIME"], user_id="twice")
    await local.put(accepted)
    await local.put(accepted)
    async with local.dispatching():
        await until(lambda: local.rows(accepted.notification_id))
        await local.dispatched()
    assert len(await local.rows(accepted.notification_id)) == 1
    assert len({event.delivery_id for event in await local.delivered("push", accepted.notification_id)}) == 1
    assert {event.notification_id for event in await local.live("twice")} == {accepted.notification_id}


async def test_a_message_that_comes_again_is_published_again_as_far_as_it_is_open(local: Local) -> None:
    """Whoever wrote the rows may have died before publishing; and how often a message came, NATS forgets when
    it dies itself. So the copy here stands for a redelivery that looks like a first one."""
    accepted = local.accepted(channels=["PUSH", "EMAIL"])
    await local.put(accepted)
    async with local.dispatching():
        await local.dispatched()
        failed = {"$set": {"deliveries.email.state": DeliveryState.FAILED}, "$pull": {"open": "email"}}
        await local.db.ledger.update_one({"notification_id": accepted.notification_id}, failed)
        await local.put(accepted)
        await local.dispatched()
    assert len(await local.delivered("push", accepted.notification_id)) == 2
    assert len(await local.delivered("email", accepted.notification_id)) == 1
    assert len(await local.rows(accepted.notification_id)) == 1


@pytest.mark.parametrize("server", ["nats", "mongod"])
async def test_servers_that_die_under_it_lose_nothing(rig: Rig, local: Local, server: str) -> None:

    async def send(number: int) -> str:
        await asyncio.sleep(number / 1_000)
        return await local.send(channels=["PUSH", "IN_APP"])

    async with local.dispatching():
        # It has begun: one that finds no server when it begins ends itself, for its supervisor to start it again.
        first = await local.send(channels=["PUSH"])
        await until(lambda: local.rows(first))
        sending = [asyncio.create_task(send(number)) for number in range(300)]
        await asyncio.sleep(0.1)
        await rig.killed(server)
        found = await asyncio.gather(*sending)
        await local.dispatched()
    published = {event.notification_id for event in await local.deliveries("push")}
    assert set(found) <= published
    rows = {row["notification_id"] async for row in local.db.ledger.find({}, {"notification_id": 1})}
    assert set(found) <= rows


PLACES = ("dispatch.before_ledger", "dispatch.after_ledger", "dispatch.after_publish")


@pytest.mark.parametrize("place", PLACES)
async def test_a_crash_between_any_two_steps_loses_nothing_and_doubles_no_row(
    rig: Rig, local: Local, tmp_path: Path, place: str
) -> None:
    armed = tmp_path / "armed"
    armed.touch()
    people = [local.somebody() for _ in range(30)]
    found = [await local.send(channels=["PUSH", "REAL_TIME", "IN_APP"], user_id=person) for person in people]
    command = ["-m", "services.ingest", "dispatch"]
    async with rig.started(command, "dispatch", CROWN_FAILPOINT=f"{place}:{armed}") as service:
        assert await service.ended() == -signal.SIGKILL
    assert not armed.exists()
    async with local.dispatching():
        await local.dispatched()
    rows = {row["_id"] async for row in local.db.ledger.find({"notification_id": {"$in": found}}, {"_id": 1})}
    assert len(rows) == len(found)
    published = {event.notification_id: event.delivery_id for event in await local.deliveries("push")}
    assert set(found) <= set(published)
    assert len({published[notification_id] for notification_id in found}) == len(found)
    for notification_id, person in zip(found, people, strict=True):
        assert {event.notification_id for event in await local.live(person)} == {notification_id}
