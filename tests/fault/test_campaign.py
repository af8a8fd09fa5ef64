"""kill -9 of a dispatcher, and of what it needs, in the middle of a notification to a large group: everybody gets it,
and nobody twice."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from pymongo.errors import PyMongoError

from bench import members
from bench.site import Site
from crown.notification.v1.ingest_service_pb2 import GetNotificationRequest, SendNotificationRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Channel, NotificationStatus
from stack.control import Stack
from tests.fault.suite import Suite

pytestmark = pytest.mark.timeout(300)

MEMBERS = 20_000
LIMIT_S = 120.0
STEP_S = 0.1


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(26_000, only=("ingest-api", "ingest-dispatch"))


@pytest.mark.parametrize("name", ["ingest-dispatch", "mongod", "nats"])
async def test_a_campaign_loses_nobody_and_doubles_nobody_when_it_is_killed(stack: Stack, name: str) -> None:
    site = Site(stack, quick=True)
    async with members.store(site) as db, grpc.aio.insecure_channel(stack.address("ingest-api")) as channel:
        await members.fill(site, db, name, MEMBERS)
        ingest = IngestServiceStub(channel)
        request = SendNotificationRequest(
            type=Channel.REAL_TIME, group_ids=[name], data=NotificationData(title="Spring")
        )
        sent = await ingest.SendNotification(request, metadata=(site.bearer(),), timeout=10)
        limit = time.monotonic() + LIMIT_S
        while await members.rows(db, sent.notification_id) < MEMBERS // 4:
            assert time.monotonic() < limit
            await asyncio.sleep(0.02)
        pid = stack.kill(name)
        await asyncio.to_thread(stack.wait_healthy, name, pid)
        asked = GetNotificationRequest(notification_id=sent.notification_id)
        while True:
            try:
                found = await ingest.GetNotification(asked, metadata=(site.bearer(),), timeout=30)
                if found.notification.status == NotificationStatus.DONE:
                    break
            except (grpc.aio.AioRpcError, PyMongoError):
                pass
            assert time.monotonic() < limit
            await asyncio.sleep(STEP_S)
        assert found.notification.recipient_count == MEMBERS
        rows = db.ledger.find({"notification_id": sent.notification_id}, {"user_id": 1})
        got = [row["user_id"] async for row in rows]
    assert len(got) == MEMBERS
    assert set(got) == {members.user(name, number) for number in range(MEMBERS)}
