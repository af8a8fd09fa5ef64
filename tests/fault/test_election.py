"""The store loses its primary in the middle of dispatch: the others elect one, and every notification stands there
once. What only the old primary had is rolled back, and nothing of ours had counted on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from stack.control import Stack
from tests.fault.members import Member, ReplicaSet, replica_set
from tests.fault.suite import Suite
from tests.integration.local import Local
from tests.integration.rig import Rig, until

pytestmark = pytest.mark.timeout(240)

PORTS = range(21_880, 21_883)
SENDS = 600
# Dispatched when the primary is lost: there is work before and after.
BEFORE = 100
LIMIT_S = 90.0


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(21_800, only=("mongod", "nats", "valkey"))


@pytest.fixture
async def members(stack: Stack, tmp_path: Path) -> AsyncIterator[ReplicaSet]:
    async with replica_set(stack, tmp_path, PORTS) as found:
        yield found


@pytest.fixture
async def local(stack: Stack, members: ReplicaSet, tmp_path: Path) -> AsyncIterator[Local]:
    rig = Rig(stack, tmp_path, "crown")
    await rig.empty()
    made = await Local.connect(rig, DATABASE_URL=members.url)
    yield made
    await made.close()
    await rig.close()


async def test_nothing_is_lost_or_doubled_by_an_election(members: ReplicaSet, local: Local) -> None:
    async with local.dispatching():
        sends = asyncio.create_task(_send(local))
        await until(lambda: _count(local), lambda found: found >= BEFORE, LIMIT_S)
        old = await members.primary()
        await old.kill()
        new = await members.primary(other_than=old)
        ids = await sends
        await until(lambda: _count(local), lambda found: found >= SENDS, LIMIT_S)
        await old.start()
        await _follows(old)
    assert new is not old
    rows = [row["notification_id"] async for row in local.db.ledger.find({}, {"notification_id": 1})]
    assert sorted(rows) == sorted(ids)


async def test_what_no_majority_has_is_rolled_back_and_ours_stands(members: ReplicaSet, local: Local) -> None:
    """A primary that the others do not hear takes writes of whoever asks for no majority. We ask for one, so what
    we went on from is what the next primary has."""
    old = await members.primary()
    others = [member for member in members.members if member is not old]
    async with local.dispatching():
        stands = await local.send(type="IN_APP", user_id="before")
        await local.becomes(stands, "in_app", "DELIVERED")
        # Stopped alone, they would read what lies in their sockets when they go on.
        await asyncio.gather(*(other.kill() for other in others))
        async with old.alone() as client:
            await client.crown.unsure.insert_one({"_id": "written by the old primary alone"})
        meanwhile = await local.send(type="IN_APP", user_id="meanwhile")
        await old.kill()
        await asyncio.gather(*(other.start() for other in others))
        await members.primary(other_than=old)
        await local.becomes(meanwhile, "in_app", "DELIVERED", LIMIT_S)
        await old.start()
        await _follows(old)
        assert await local.db.unsure.count_documents({}) == 0
    assert [len(await local.rows(one)) for one in (stands, meanwhile)] == [1, 1]


async def _send(local: Local) -> list[str]:
    return [await local.send(type="IN_APP", user_id=f"person-{number}") for number in range(SENDS)]


async def _count(local: Local) -> int:
    try:
        return await local.db.ledger.count_documents({})
    except PyMongoError:
        return 0


async def _follows(member: Member) -> None:
    """Returns when the member has caught up as a secondary, or leads again."""

    async def state() -> int:
        client: AsyncMongoClient[dict[str, object]]
        try:
            async with asyncio.timeout(2), member.alone() as client:
                return int((await client.admin.command("replSetGetStatus"))["myState"])
        except (PyMongoError, TimeoutError):
            return 0

    await until(state, lambda found: found in {1, 2}, LIMIT_S)
