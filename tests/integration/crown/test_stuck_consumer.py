"""A worker dies with all that its consumer may hand out, and its requests stay behind: who comes after it waits until
the bus misses its word, and no longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from crown import subjects
from crown.bus import Bus, Outgoing
from crown.pull import Message, Pull, ready
from crown.subjects import Consumer
from tests.integration.local import Local
from tests.integration.rig import Rig, until

INTAKE = subjects.intake("normal")
HELD = 10
MESSAGES = 25
ACK_WAIT_S = 2
ORPHANS = 50
LIMIT_S = 15.0


@pytest.fixture
async def consumer(local: Local) -> AsyncIterator[Consumer]:
    await local.bus.api("STREAM.PURGE.INTAKE_normal")
    found = replace(subjects.dispatcher("normal"), ack_wait_s=ACK_WAIT_S, max_ack_pending=HELD)
    yield found
    await local.bus.api(f"CONSUMER.DELETE.{found.stream}.{found.name}")


async def read(pull: Pull, wake: asyncio.Event, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(LIMIT_S):
        while len(found) < count:
            for message in await pull.take(count):
                found.append(message)
                await message.ack()
            await ready(wake, asyncio.Event(), 0.1)
    return found


async def test_who_comes_after_a_dead_worker_gets_everything(
    rig: Rig, local: Local, consumer: Consumer
) -> None:
    await local.bus.publish_many(Outgoing(INTAKE, f"{number}".encode()) for number in range(MESSAGES))
    dead = await Bus.connect(rig.settings(), "dies")
    taken = Pull(dead, consumer, asyncio.Event())
    await taken.start()

    async def held() -> int:
        return len(taken)

    await until(held, lambda count: count == HELD, LIMIT_S)
    ask = msgspec.json.encode({"batch": 100, "expires": 30 * 10**9})
    for number in range(ORPHANS):
        call = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}"
        await dead.client.publish(call, ask, f"_INBOX.nobody.{number}")
    await dead.client.close()
    died = time.monotonic()

    wake = asyncio.Event()
    pull = Pull(local.bus, consumer, wake)
    await pull.start()
    found = await read(pull, wake, MESSAGES)
    await pull.stop()
    assert {message.data for message in found} == {f"{number}".encode() for number in range(MESSAGES)}
    assert sum(message.deliveries > 1 for message in found) == HELD
    assert time.monotonic() - died > ACK_WAIT_S / 2
