"""The store hangs, and the cache hangs or forgets: what is accepted meanwhile is accepted, reads say so, and dispatch
catches up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

import grpc
import pytest

from crown import subjects
from tests.integration.api import Api
from tests.integration.local import Local
from tests.integration.rig import Rig, until

REUSED = grpc.StatusCode.ALREADY_EXISTS


@pytest.fixture(scope="module")
async def api(rig: Rig) -> AsyncIterator[Api]:
    """The API, in a process of its own."""
    async with rig.running("api") as service:
        yield Api(rig, service)


async def _refused(api: Api, notification_id: str) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.get(notification_id)
    return caught.value.details() or ""


async def test_while_the_store_hangs(rig: Rig, api: Api, local: Local) -> None:
    """Sends go on, reads answer in time that they cannot, and nothing is missing afterwards."""
    before = await api.send(user_id="before")
    async with rig.running("dispatch") as dispatch:
        await until(lambda: local.rows(before))
        async with rig.suspended("mongod"):
            began = time.monotonic()
            found = await asyncio.gather(
                *(api.send(user_id=f"p{n}", key=f"away-{n}", timeout_s=5) for n in range(20))
            )
            # With a key the store is asked once, and then left alone for a while.
            assert time.monotonic() - began < 4
            # The first ones may end at their deadline; once the driver has noticed, the store is said to be away.
            await until(partial(_refused, api, before), lambda why: why == "the store does not answer; retry")
            assert await local.backlog(subjects.dispatcher("normal")) == 20
        for notification_id in found:
            await until(lambda wanted=notification_id: local.rows(wanted), within_s=40)  # type: ignore[misc]
        await until(dispatch.health, lambda health: health == 1)
    assert await local.db.ledger.count_documents({"user_id": {"$regex": "^p[0-9]"}}) == 20


async def test_while_the_cache_hangs(rig: Rig, api: Api, local: Local) -> None:
    """Slower, never long, and the same key is the same notification."""
    async with rig.suspended("valkey"):
        began = time.monotonic()
        first = await api.send(user_id="c1", key="hangs")
        for _ in range(20):
            assert await api.send(user_id="c1", key="hangs") == first
        assert time.monotonic() - began < 5


async def test_after_the_cache_forgot(rig: Rig, api: Api, local: Local) -> None:
    """The store remembers what a key stood for, once it was dispatched; and nobody gets anything twice."""
    first = await api.send(user_id="c2", key="forgot")
    async with local.dispatching():
        await until(lambda: local.rows(first))
        await rig.redis.flushall()
        assert await api.send(user_id="c2", key="forgot") == first
        await local.dispatched()

        async def refused() -> bool:
            # Where the cache hung a moment ago it is left alone for two seconds.
            try:
                await api.send(user_id="c2", key="forgot", data={"title": "Another"})
            except grpc.aio.AioRpcError as error:
                return error.code() is REUSED
            return False

        await until(refused)
        await local.dispatched()
    assert await local.db.ledger.count_documents({"user_id": "c2"}) == 1
