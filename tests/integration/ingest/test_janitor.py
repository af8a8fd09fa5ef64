"""The janitor: storage follows the backlog, and nothing that is not settled goes."""

from __future__ import annotations

import asyncio

import pytest

from crown import subjects
from crown.bus import Outgoing
from crown.pull import Message, Pull, ready
from services.ingest.books import janitor
from services.ingest.books.janitor import Janitor
from tests.integration.local import Local
from tests.integration.rig import until

STREAM = subjects.delivery_stream("normal")
PUSH, SMS = subjects.delivery("push", "normal"), subjects.delivery("sms", "normal")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor, "_PERIOD_S", 0.1)


async def taken(pull: Pull, wake: asyncio.Event, count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        found += await pull.take(count - len(found))
        if len(found) < count:
            await ready(wake, asyncio.Event())
    return found


async def left(local: Local, subject: str) -> list[int]:
    return [int(raw) for raw in await local.stored(STREAM, subject)]


async def test_it_purges_what_is_settled_and_nothing_else(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "_STEP", 7)
    wake = asyncio.Event()
    pull = Pull(local.bus, subjects.worker("push", "normal"), wake)
    await pull.start()
    # Two channels in one stream, interleaved; one of them has no worker yet.
    for number in range(60):
        await local.bus.publish(Outgoing(PUSH if number % 2 else SMS, str(number).encode()))
    messages = await taken(pull, wake, 30)
    async with local.working(Janitor(local.bus).run):
        await asyncio.sleep(0.4)
        assert len(await left(local, PUSH)) == 30

        for message in messages[:20]:
            await message.ack()
        await messages[21].ack()  # out of order: one before it is still open
        await until(lambda: left(local, PUSH), lambda found: len(found) == 10)
        await asyncio.sleep(0.4)
        assert await left(local, PUSH) == [2 * number + 1 for number in range(20, 30)]
        assert len(await left(local, SMS)) == 30

        await messages[20].ack()
        await messages[22].nak(0.05)
        await messages[23].term("NO")
        await until(lambda: left(local, PUSH), lambda found: found[0] == 45)
        (again,) = await taken(pull, wake, 1)
        for message in [again, *messages[24:]]:
            await message.ack()
        await until(lambda: left(local, PUSH), lambda found: not found)
    await pull.stop()


async def test_dead_letters_and_outcomes_stay(local: Local) -> None:
    await local.bus.publish(Outgoing(subjects.dead("push"), b"x"))
    await local.bus.publish(Outgoing(subjects.event("push"), b"x"))
    async with local.working(Janitor(local.bus).run):
        await asyncio.sleep(0.4)
    assert await local.messages("DEAD") == 1
    assert await local.messages("EVENT") == 1


async def test_a_pending_retry_stays(local: Local) -> None:
    """Schedules lie in the stream that retries come out of."""
    await local.bus.ensure_consumer(subjects.retrier("push", "normal"))
    headers = {
        "Nats-Schedule": "@at 2099-01-01T00:00:00Z",
        "Nats-Schedule-Target": subjects.due("push", "normal"),
    }
    await local.bus.publish(Outgoing(subjects.retry("push", "d1"), b"x", headers))
    async with local.working(Janitor(local.bus).run):
        await asyncio.sleep(0.4)
    assert await local.messages("RETRY") == 1
