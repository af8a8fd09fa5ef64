"""Two processes of one role: they share the work and the provider's rate, and one may die in the middle of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
import grpc.aio
import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from crown.client.draft import draft
from crown.notification.v1.ingest_service_pb2 import SendBulkNotificationsRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from stack.control import Stack
from tests.fault import bus
from tests.fault.people import crowd, register
from tests.fault.suite import Suite

PEOPLE = 40
MAILS = 600
RATE = 60
IN_FLIGHT = 16
# What may go at once after a pause, as crown/rates.py has it: what this time allows.
BURST_S = 0.25
# A crash is noticed by the bus when what was handed out is not settled in time.
LIMIT_S = 90.0
PROCESSES = ("email", "email-2")


@dataclass(frozen=True)
class Scene:
    """A stack in which e-mail runs twice."""

    stack: Stack
    http: aiohttp.ClientSession
    streams: bus.Streams
    db: AsyncDatabase[dict[str, Any]]
    ingest: grpc.aio.Channel

    async def send(self) -> None:
        """Accepts all mails."""
        items = [
            draft(
                type="email",
                user_ids=[one.user for one in crowd(PEOPLE)],
                title=f"Number {number}",
                message="Hello",
                priority="normal",
            )
            for number in range(MAILS // PEOPLE)
        ]
        metadata = (("authorization", f"Bearer {self.stack.token(service='feed')}"),)
        answer = await IngestServiceStub(self.ingest).SendBulkNotifications(
            SendBulkNotificationsRequest(notifications=items), metadata=metadata, timeout=30
        )
        assert not any(result.HasField("error") for result in answer.results)

    async def letters(self) -> list[dict[str, Any]]:
        """What lies in the mailbox."""
        address = f"http://127.0.0.1:{self.stack.settings.ports.mailbox_http}/messages"
        async with self.http.get(address, params={"limit": "10000"}) as answer:
            found: list[dict[str, Any]] = (await answer.json())["messages"]
            return found

    async def delivered(self, process: str) -> int:
        """What the process says that it has handed over since its start."""
        address = f"http://127.0.0.1:{self.stack.settings.ports.metrics(process)}/metrics"
        async with self.http.get(address) as answer:
            series = re.findall(
                r'^crown_outcomes_total\{[^}]*outcome="Delivered"[^}]*\} (\S+)', await answer.text(), re.M
            )
            return int(sum(map(float, series)))

    async def left(self) -> tuple[int, int]:
        """Rows that have not ended, and messages that wait."""
        ended = await self.db.ledger.count_documents({"open": []})
        return MAILS - ended, await self.streams.unsettled()


@pytest.fixture(scope="module")
def suite() -> Suite:
    given = {
        "CROWN_STACK_SCALE": "email=2",
        "CROWN_EMAIL_PROVIDERS": "smtp",
        "CROWN_PROVIDER_RATES": f"smtp={RATE}",
        "CROWN_IN_FLIGHT": str(IN_FLIGHT),
    }
    only = ("ingest-api", "ingest-dispatch", "ingest-record", "push", "email")
    return Suite(13_700, given=given, only=only)


@pytest.fixture(scope="module")
async def scene(stack: Stack) -> AsyncIterator[Scene]:
    environment = stack.environment("operator")
    async with AsyncExitStack() as held:
        streams = await held.enter_async_context(bus.streams(environment))
        mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(bus.secret(environment, "DATABASE_URL"))
        held.push_async_callback(mongo.close)
        http = await held.enter_async_context(aiohttp.ClientSession())
        ingest = await held.enter_async_context(grpc.aio.insecure_channel(stack.address("ingest-api")))
        push = await held.enter_async_context(grpc.aio.insecure_channel(stack.address("push")))
        await register(ingest, push, stack.token(service="feed"), crowd(PEOPLE))
        yield Scene(stack, http, streams, mongo.get_default_database(), ingest)


async def test_two_share_the_work_and_one_may_die(scene: Scene) -> None:
    names = {one.name for one in scene.stack.status()}
    assert names.issuperset(PROCESSES)
    await scene.send()
    await until(scene.letters, lambda found: len(found) >= MAILS // 3)
    # Both are at work, and would be for a while.
    assert all([await scene.delivered(process) >= MAILS // 15 for process in PROCESSES])
    pid = await asyncio.to_thread(scene.stack.kill, "email-2")
    before = len(await scene.letters())
    await asyncio.to_thread(scene.stack.wait_healthy, "email-2", pid, 60)
    assert scene.stack.of("email").restarts == 0
    await until(scene.left, lambda left: left == (0, 0))

    letters = await scene.letters()
    arrived = Counter(letter["delivery_id"] for letter in letters)
    assert before < MAILS, "it was killed too late"
    assert len(arrived) == MAILS
    assert len(letters) - MAILS <= IN_FLIGHT
    assert most_above_rate(letters) <= RATE * BURST_S + IN_FLIGHT * len(PROCESSES)
    assert sum([await scene.delivered(process) for process in PROCESSES]) > 0


def most_above_rate(letters: list[dict[str, Any]]) -> float:
    """The most by which the letters of any span were more than the rate allows for it: how full a bucket gets that
    each letter fills and the rate drains.

    The rate says when calls may begin, and letters are seen when they have come. So there may be as many more as may
    begin at once, and as many as each process can have under way: those that began earlier and arrive together."""
    level = most = last = 0.0
    for moment in sorted(datetime.fromisoformat(letter["time"]).timestamp() for letter in letters):
        level = max(0.0, level - RATE * (moment - last)) + 1
        most, last = max(most, level), moment
    return most


async def until(read: Callable[[], Awaitable[Any]], done: Callable[[Any], bool]) -> None:
    """Returns when `done` accepts what is read."""
    limit = time.monotonic() + LIMIT_S
    while not done(found := await read()):
        assert time.monotonic() < limit, f"after {LIMIT_S:g} s: {str(found)[:500]}"
        await asyncio.sleep(0.2)
