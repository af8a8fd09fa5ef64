"""Accepting: few fsyncs, one notification for one key, on any replica, at any time, whatever else is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from crown import subjects
from crown.notification.v1.types_pb2 import NotificationStatus, TimelineEvent
from tests.integration.api import Api, reason_of, request
from tests.integration.local import Local
from tests.integration.rig import Rig, until

REUSED = (grpc.StatusCode.ALREADY_EXISTS, "KEY_REUSED", None)
ACCEPTED = NotificationStatus.ACCEPTED


@pytest.fixture(scope="module")
async def replicas(rig: Rig) -> AsyncIterator[tuple[Api, Api]]:
    """Two replicas of the API."""
    async with rig.running("api") as one, rig.running("api") as two:
        yield Api(rig, one), Api(rig, two)


@pytest.fixture
def api(replicas: tuple[Api, Api]) -> Api:
    """One of them."""
    return replicas[0]


async def commits(api: Api, form: str = "") -> float:
    labels = {"form": form} if form else {}
    return await api.service.metric("crown_intake_commits_total", **labels)


# -- group commit


async def test_a_lone_request_is_one_plain_publish(api: Api, local: Local) -> None:
    plain, all_forms = await commits(api, "plain"), await commits(api)
    stored = await local.messages("INTAKE_normal")
    await api.send()
    assert await commits(api, "plain") == plain + 1
    assert await commits(api) == all_forms + 1
    assert await local.messages("INTAKE_normal") == stored + 1


async def test_two_hundred_at_once_make_few_commits(api: Api, local: Local) -> None:
    made: list[float] = []
    # On a machine that is busy with other things they do not come at once; of three times one does.
    while len(made) < 3 and min(made, default=200.0) >= 50:
        before, stored = await commits(api), await local.messages("INTAKE_normal")
        found = await asyncio.gather(*(api.send(user_id=f"user{n}") for n in range(200)))
        assert len(set(found)) == 200
        assert await local.messages("INTAKE_normal") == stored + 200
        made.append(await commits(api) - before)
    assert min(made) < 50


async def test_a_storm_of_retries_is_grouped_as_ever(api: Api) -> None:
    """As after a hiccup of the network: everybody sends the same again, and again."""
    before = await commits(api)
    found = await asyncio.gather(*(api.send(key=f"storm-{n % 20}") for n in range(600)))
    assert len(set(found)) == 20
    # Grouped still: on a slow machine requests come apart, and groups are smaller.
    assert await commits(api) - before < 450
    # One duplicate in a batch that carries message ids would have refused all of it.
    assert "batch_refused" not in api.service.events()


async def test_a_bulk_is_one_commit(api: Api) -> None:
    before = await commits(api)
    results = await api.bulk(*(request(user_id=f"user{n}") for n in range(300)))
    assert [result.status for result in results] == [ACCEPTED] * 300
    assert await commits(api) == before + 1


# -- one key, one notification


async def test_the_same_key_is_the_same_notification(replicas: tuple[Api, Api], local: Local) -> None:
    person = local.somebody()
    found = await asyncio.gather(
        *(replicas[n % 2].send(key="twice", type="PUSH", user_id=person) for n in range(40))
    )
    (notification_id,) = set(found)
    assert (
        await replicas[1].send(key="", idempotency_key="twice", type="PUSH", user_id=person)
        == notification_id
    )
    async with local.dispatching():
        await until(lambda: local.rows(notification_id))
        await until(lambda: local.backlog(subjects.dispatcher("normal")), lambda left: left == 0)
        async with local.dispatching():  # another dispatcher finds nothing left to do
            await until(lambda: local.backlog(subjects.dispatcher("normal")), lambda left: left == 0)
    (row,) = await local.rows(notification_id)
    deliveries = await local.stored("DELIVERY_normal", subjects.delivery("push", "normal"))
    assert sum(row["deliveries"]["push"]["id"].encode() in raw for raw in deliveries) == 1


async def test_the_same_key_of_another_service_is_another_notification(
    rig: Rig, replicas: tuple[Api, Api]
) -> None:
    other = Api(rig, replicas[0].service, "auth")
    assert await other.send(key="shared") != await replicas[0].send(key="shared")


async def test_the_same_key_with_another_body_is_refused(replicas: tuple[Api, Api]) -> None:
    one, two = replicas
    notification_id = await one.send(key="body", data={"title": "A"})
    assert await two.refused(key="body", data={"title": "B"}) == REUSED
    assert await one.refused(idempotency_key="body", data={"title": "B"}) == REUSED
    assert await two.send(key="body", data={"title": "A"}) == notification_id


@pytest.mark.parametrize("key", ["a b", "é", "x" * 256, "\t"])
async def test_a_key_must_be_printable(api: Api, key: str) -> None:
    code, reason, _ = await api.refused(idempotency_key=key)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_days_later_the_store_still_knows(rig: Rig, replicas: tuple[Api, Api], local: Local) -> None:
    one, two = replicas
    notification_id = await one.send(key="old", data={"title": "A"})
    async with local.dispatching():
        await until(lambda: local.rows(notification_id))
    for first in (one, two):
        # A day has passed, as far as Redis is concerned.
        await rig.redis.flushall()
        # The second refusal shows that asking has not made Redis believe the wrong body.
        assert await first.refused(key="old", data={"title": "B"}) == REUSED
        assert await first.refused(key="old", data={"title": "B"}) == REUSED
        assert await two.send(key="old", data={"title": "A"}) == notification_id
        assert await two.refused(key="old", data={"title": "B"}) == REUSED
    await rig.redis.flushall()
    assert await two.send(key="old", data={"title": "A"}) == notification_id


async def remembers(rig: Rig, api: Api) -> bool:
    """Whether the replica asks Redis: after a failure it leaves it alone for two seconds."""
    before = await rig.redis.dbsize()
    await api.send(key=f"probe-{time.monotonic()}")
    return bool(await rig.redis.dbsize() > before)


async def is_refused(api: Api, **given: Any) -> bool:
    """Whether the key is known to stand for another body; on a busy machine Redis may answer too late."""
    try:
        await api.send(**given)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.ALREADY_EXISTS
    return False


@pytest.mark.parametrize("away", [("valkey",), ("mongod",), ("valkey", "mongod")], ids="+".join)
async def test_accepting_hangs_on_the_bus_alone(
    rig: Rig, replicas: tuple[Api, Api], local: Local, away: tuple[str, ...]
) -> None:
    one, two = replicas
    key = f"away-{'-'.join(away)}"
    before = await one.send(key=key, data={"title": "A"})
    async with rig.suspended(away[0]), rig.suspended(away[-1]):
        began = time.monotonic()
        assert await one.send(key=key, data={"title": "A"}, timeout_s=3) == before
        assert await two.send(key=key, data={"title": "A"}, timeout_s=3) == before
        fresh = await asyncio.gather(*(one.send(key=f"{key}-{n}", timeout_s=3) for n in range(20)))
        assert time.monotonic() - began < 5
    # Back again, each answer belongs to its own question.
    for replica in replicas:
        await until(partial(remembers, rig, replica))
    assert await one.send(key=f"{key}-new", data={"title": "A"}) != before
    again = await asyncio.gather(*(two.send(key=f"{key}-{n}") for n in range(20)))
    assert again == fresh
    await until(partial(is_refused, one, key=f"{key}-new", data={"title": "B"}))
    if "valkey" not in away:
        await until(partial(is_refused, two, key=key, data={"title": "B"}))


async def test_what_redis_forgot_before_it_was_dispatched_is_told_in_the_timeline(
    rig: Rig, api: Api, local: Local
) -> None:
    """Nobody could know: the first body wins, and its sender can see that there was another one."""
    notification_id = await api.send(key="lost", user_id="lost", data={"title": "A"})
    await rig.redis.flushall()
    assert await api.send(key="lost", user_id="lost", data={"title": "B"}) == notification_id
    async with local.dispatching():
        entry = await until(lambda: local.db.timeline.find_one({"notification_id": notification_id}))
        assert entry is not None
        assert entry["event"] == TimelineEvent.KEY_REUSED
    assert len(await local.rows(notification_id)) == 1


@pytest.mark.parametrize("place", ["accept.before_publish", "accept.after_publish"])
@pytest.mark.parametrize("key", ["header", "field"])
async def test_a_crash_while_accepting_leaves_one_notification_for_a_key(
    rig: Rig, replicas: tuple[Api, Api], local: Local, tmp_path: Path, place: str, key: str
) -> None:
    """Between knowing the key and storing the notification, and between storing it and saying so."""
    (fuse := tmp_path / "fuse").touch()
    person, other = local.somebody(), replicas[0]
    name = f"crash-{place}-{key}"
    given: dict[str, Any] = {"key": name} if key == "header" else {"idempotency_key": name}
    async with rig.running("api", CROWN_FAILPOINT=f"{place}:{fuse}") as victim:
        with pytest.raises(grpc.aio.AioRpcError):
            await Api(rig, victim).send(user_id=person, **given)
        assert await victim.ended() != 0
    found = {await other.send(user_id=person, **given) for _ in range(3)}
    assert len(found) == 1
    assert await other.refused(user_id=person, data={"title": "Another"}, **given) == REUSED
    async with local.dispatching():
        await until(lambda: local.db.ledger.count_documents({"user_id": person}))
        await local.dispatched()
    assert await local.db.ledger.count_documents({"user_id": person}) == 1


# -- bulk


async def test_each_item_of_a_bulk_has_its_own_answer_in_order(api: Api) -> None:
    good = request(user_id="user1")
    results = await api.bulk(good, request(user_id="a b", kind="coup"), good, request(data={}))
    assert [result.HasField("error") for result in results] == [False, True, False, True]
    assert results[0].status == results[2].status == ACCEPTED
    assert results[0].notification_id != results[2].notification_id
    assert reason_of(results[1].error) == "INVALID_REQUEST"
    assert "user_id: must be" in results[1].error.message
    assert "kind: must be one of" in results[1].error.message
    assert not results[1].HasField("notification_id")


async def test_a_bulk_sent_again_finds_its_notifications(replicas: tuple[Api, Api]) -> None:
    items = [request(user_id=f"user{n}") for n in range(5)]
    items.append(request(user_id="user9", idempotency_key="its-own"))
    first = await replicas[0].bulk(*items, key="bulk")
    again = await replicas[1].bulk(*items, key="bulk")
    ids = [result.notification_id for result in first]
    assert [result.notification_id for result in again] == ids
    assert len(set(ids)) == 6
    # Its own key is the same thing as if it had been sent by itself.
    assert await replicas[1].send(idempotency_key="its-own", user_id="user9") == ids[5]

    items[2] = request(user_id="user2", data={"title": "Another"})
    changed = await replicas[1].bulk(*items, key="bulk")
    assert [result.HasField("error") for result in changed] == [False, False, True, False, False, False]
    assert reason_of(changed[2].error) == "KEY_REUSED"


async def test_the_same_key_twice_in_one_bulk(api: Api, local: Local) -> None:
    before = await local.messages("INTAKE_normal")
    one = request(idempotency_key="in-bulk", data={"title": "A"})
    other = request(idempotency_key="in-bulk", data={"title": "B"})
    results = await api.bulk(one, one, other)
    assert results[0].notification_id == results[1].notification_id
    assert reason_of(results[2].error) == "KEY_REUSED"
    assert await local.messages("INTAKE_normal") == before + 1


async def test_what_is_refused_leaves_no_trace(rig: Rig, api: Api, local: Local) -> None:
    before = [await local.messages(f"INTAKE_{lane}") for lane in subjects.LANES.values()]
    keys = await rig.redis.dbsize()
    await api.refused(idempotency_key="refused", user_id="a b")
    await api.refused(idempotency_key="refused", data={"title": "x", "action_url": "//evil.com"})
    await api.bulk(request(idempotency_key="refused", kind="coup"))
    assert [await local.messages(f"INTAKE_{lane}") for lane in subjects.LANES.values()] == before
    assert await rig.redis.dbsize() == keys
