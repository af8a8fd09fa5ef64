"""Replays of many dead letters: at their pace, once each, and to the end, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crown import subjects
from crown.clock import now
from crown.errors import NotFound
from crown.notification.v1 import dead_letter_service_pb2 as pb
from crown.notification.v1.types_pb2 import DeadLetterState, Priority
from crown.store import Document
from services.ingest.dead.replays import Carrier
from tests.integration.ingest.graves import Graveyard, as_operator, digging
from tests.integration.local import Local
from tests.integration.rig import Rig, until


@pytest.fixture(scope="module")
async def yard(local: Local) -> AsyncIterator[Graveyard]:
    async with digging(local) as made:
        yield made


@pytest.fixture(autouse=True)
async def clean(yard: Graveyard) -> None:
    """No letters, and nothing of anybody's that arrived."""
    as_operator("olga")
    await yard.local.db.dead_letters.delete_many({})
    await yard.local.db.replays.delete_many({})
    yard.carrier.arrived.clear()


async def begin(yard: Graveyard, replay_id: str = "", **given: Any) -> pb.Replay:
    request = pb.ReplayDeadLettersRequest(filter=pb.DeadLetterFilter(), replay_id=replay_id, **given)
    return (await yard.service.ReplayDeadLetters(request, None)).replay


async def look(yard: Graveyard, replay_id: str) -> pb.Replay:
    return (await yard.service.GetReplay(pb.GetReplayRequest(replay_id=replay_id), None)).replay


async def ended(yard: Graveyard, replay_id: str, within_s: float = 30) -> pb.Replay:
    return await until(partial(look, yard, replay_id), lambda found: found.done, within_s)


async def each_arrives_once(yard: Graveyard, letters: list[Document]) -> None:
    """Returns when all have arrived; fails where one has come twice."""
    wanted = {letter["delivery_id"] for letter in letters}

    async def arrived() -> Counter[str]:
        return Counter(attempt.delivery_id for attempt in yard.carrier.arrived)

    found = await until(arrived, lambda counts: counts.keys() >= wanted, 30)
    assert found.keys() == wanted
    assert set(found.values()) == {1}


async def test_all_that_fit_are_delivered_on_the_lane_for_much(yard: Graveyard) -> None:
    letters = await yard.give_up_many(60)
    critical = await yard.give_up(priority="CRITICAL")
    other = await yard.give_up(kind="like")
    request = pb.ReplayDeadLettersRequest(filter=pb.DeadLetterFilter(), per_second=1_000, replay_id="all")
    # Everything but what was read of by now: three expired, and one of another kind.
    expired = [letter["notification_id"] for letter in letters[:1]]
    rows = await yard.local.rows(expired[0])
    late = {"_id": {"$in": [row["_id"] for row in rows[:3]]}}
    await yard.local.db.ledger.update_many(late, {"$set": {"expire_time": now() - timedelta(minutes=1)}})
    await yard.local.db.dead_letters.update_one(
        {"_id": other["_id"]}, {"$set": {"state": DeadLetterState.DISCARDED}}
    )
    async with yard.local.working(Carrier(yard.local.bus, yard.local.store).run):
        told = (await yard.service.ReplayDeadLetters(request, None)).replay
        assert (told.replay_id, told.matched, told.replayed, told.done) == ("all", 61, 0, False)
        done = await ended(yard, "all")
    assert (done.matched, done.replayed, done.skipped, done.cancelled) == (61, 58, 3, False)
    gone = {row["user_id"] for row in rows[:3]}
    await each_arrives_once(yard, [critical, *(one for one in letters if one["user_id"] not in gone)])
    # The same id again starts nothing.
    assert (await begin(yard, "all")).replayed == 58
    # What is fresh and critical waits behind none of them.
    (first, again) = [
        *await yard.local.delivered("sms", critical["notification_id"], "critical"),
        *await yard.local.delivered("sms", critical["notification_id"], "bulk"),
    ]
    assert (first.priority, again.priority) == (Priority.CRITICAL, Priority.BULK)
    (row,) = await yard.local.rows(critical["notification_id"])
    assert row["lane"] == Priority.BULK
    states = Counter([one["state"] async for one in yard.local.db.dead_letters.find()])
    assert states == {DeadLetterState.REPLAYED: 58, DeadLetterState.OPEN: 3, DeadLetterState.DISCARDED: 1}


async def test_a_dry_run_only_counts(yard: Graveyard) -> None:
    await yard.give_up_many(5)
    told = await begin(yard, "dry", dry_run=True)
    assert (told.replay_id, told.matched, told.done) == ("", 5, False)
    with pytest.raises(NotFound):
        await look(yard, "dry")


async def test_what_is_given_up_again_is_not_replayed_for_ever(yard: Graveyard) -> None:
    letters = await yard.give_up_many(20)
    yard.carrier.refuses = True
    async with yard.local.working(Carrier(yard.local.bus, yard.local.store).run):
        replay_id = (await begin(yard, per_second=50)).replay_id
        done = await ended(yard, replay_id)
    assert (done.replayed, done.skipped) == (20, 0)
    await yard.letters(20, state=DeadLetterState.OPEN)
    assert yard.arrivals(*letters) == 0


async def test_it_keeps_its_pace(yard: Graveyard) -> None:
    await yard.give_up_many(80)
    async with yard.local.working(Carrier(yard.local.bus, yard.local.store).run):
        await begin(yard, "slow", per_second=40)
        began = time.monotonic()
        seen: list[tuple[float, int]] = []

        async def so_far() -> pb.Replay:
            found = await look(yard, "slow")
            seen.append((time.monotonic() - began, found.replayed))
            return found

        await until(so_far, lambda found: found.done, 30)
    # 80 at 40 a second; the first few come at once, and it may be a second until somebody begins.
    assert 1.6 <= time.monotonic() - began <= 6
    assert all(count <= 40 * at_s + 16 for at_s, count in seen)
    assert len({count for _, count in seen}) >= 8


async def test_an_operator_ends_it(yard: Graveyard) -> None:
    await yard.give_up_many(100)
    async with yard.local.working(Carrier(yard.local.bus, yard.local.store).run):
        await begin(yard, "long", per_second=20)
        await until(partial(look, yard, "long"), lambda found: found.replayed >= 8)
        cancel = pb.CancelReplayRequest(replay_id="long")
        told = (await yard.service.CancelReplay(cancel, None)).replay
        assert (told.done, told.cancelled) == (True, True)
        await asyncio.sleep(0.5)
        stopped = await look(yard, "long")
        await asyncio.sleep(0.5)
        assert (await look(yard, "long")) == stopped
        # The part that was under way may still have come.
        assert told.replayed <= stopped.replayed <= told.replayed + 4
        assert (await yard.service.CancelReplay(cancel, None)).replay == stopped
    left = await yard.local.db.dead_letters.count_documents({"state": DeadLetterState.OPEN})
    assert left == 100 - stopped.replayed
    with pytest.raises(NotFound):
        await yard.service.CancelReplay(pb.CancelReplayRequest(replay_id="none"), None)


async def test_several_processes_share_replays_and_none_is_carried_twice(yard: Graveyard) -> None:
    local = yard.local
    letters = await yard.give_up_many(300)
    stream = subjects.delivery_stream("bulk")
    before = await local.messages(stream)
    carriers = [Carrier(local.bus, local.store) for _ in range(4)]
    async with local.working(*(carrier.run for carrier in carriers)):
        await begin(yard, "one", per_second=400)
        await begin(yard, "two", per_second=400)
        one, two = await ended(yard, "one"), await ended(yard, "two")
    # Both are of the same letters, so one may find what the other did.
    assert one.replayed + two.replayed >= 300
    await each_arrives_once(yard, letters)
    assert await local.messages(stream) == before + 300


RECORD = ["-m", "services.ingest", "record"]


@pytest.mark.parametrize("place", ["replay.after_open", "replay.after_publish"])
async def test_another_goes_on_where_a_killed_one_was(
    rig: Rig, yard: Graveyard, tmp_path: Path, place: str
) -> None:
    local = yard.local
    letters = await yard.give_up_many(40)
    armed = tmp_path / "armed"
    armed.touch()
    await begin(yard, "crash", per_second=50)
    async with rig.started(RECORD, "record", CROWN_FAILPOINT=f"{place}:{armed}") as service:
        assert await service.ended() == -9
        assert not armed.exists()
    async with local.working(Carrier(local.bus, local.store).run):
        # While its lease holds, nobody else is at it.
        await asyncio.sleep(1.2)
        assert (await look(yard, "crash")).replayed == 0
        lapsed = {"$set": {"lease_until": now() - timedelta(seconds=1)}}
        await local.db.replays.update_one({"_id": "crash"}, lapsed)
        done = await ended(yard, "crash")
    assert (done.matched, done.replayed, done.skipped) == (40, 40, 0)
    await each_arrives_once(yard, letters)


async def test_a_kill_in_the_middle_costs_nothing(rig: Rig, yard: Graveyard) -> None:
    """Many letters; the process dies where it happens to be."""
    count = 800
    letters = await yard.give_up_many(count)
    await begin(yard, "many", per_second=600)
    async with rig.started(RECORD, "record") as service:
        await until(partial(look, yard, "many"), lambda found: found.replayed >= 200, 30)
        service.signal(signal.SIGKILL)
        await service.ended()
    async with yard.local.working(Carrier(yard.local.bus, yard.local.store).run):
        done = await ended(yard, "many", 40)
    assert (done.matched, done.replayed, done.skipped) == (count, count, 0)
    await each_arrives_once(yard, letters)
