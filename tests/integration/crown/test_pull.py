"""Pulling from a real JetStream: nothing waits for long, nothing is taken twice, and what is not settled comes
again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from crown import pull as pull_module
from crown import subjects
from crown.bus import Bus, Outgoing
from crown.pull import Message, Pull, ready
from crown.subjects import Consumer
from tests import broken
from tests.integration.local import Local
from tests.integration.rig import Rig, until

INTAKE = subjects.intake("normal")


@pytest.fixture
async def consumer(local: Local) -> AsyncIterator[Consumer]:
    """A consumer of an empty stream; what it hands out and nobody settles comes again after a second."""
    await local.bus.api("STREAM.PURGE.INTAKE_normal")
    found = replace(subjects.dispatcher("normal"), ack_wait_s=1)
    yield found
    await local.bus.api(f"CONSUMER.DELETE.{found.stream}.{found.name}")


async def put(bus: Bus, *texts: str) -> None:
    await bus.publish_many(Outgoing(INTAKE, text.encode()) for text in texts)


class Reader:
    """A pull, and what it has given."""

    def __init__(self, bus: Bus, consumer: Consumer, window: int = 512) -> None:
        self.wake = asyncio.Event()
        self.pull = Pull(bus, consumer, self.wake, window)

    async def read(self, count: int, within_s: float = 10.0) -> list[Message]:
        """The next messages."""
        found: list[Message] = []
        async with asyncio.timeout(within_s):
            while len(found) < count:
                found += await self.pull.take(count - len(found))
                if len(found) < count:
                    await ready(self.wake, asyncio.Event(), 0.1)
        return found


@pytest.fixture
async def reader(local: Local, consumer: Consumer) -> AsyncIterator[Reader]:
    """One that reads."""
    found = Reader(local.bus, consumer)
    await found.pull.start()
    yield found
    await found.pull.stop()


async def test_messages_come_in_order_with_their_place(local: Local, reader: Reader) -> None:
    await put(local.bus, *(f"{number}" for number in range(2_000)))
    found = await reader.read(2_000)
    assert [message.data for message in found] == [f"{number}".encode() for number in range(2_000)]
    assert {message.stream for message in found} == {"INTAKE_normal"}
    assert {message.deliveries for message in found} == {1}
    assert {message.subject for message in found} == {INTAKE}
    sequences = [message.sequence for message in found]
    assert sequences == list(range(sequences[0], sequences[0] + 2_000))
    assert abs(found[0].time.timestamp() - time.time()) < 60
    for message in found:
        await message.ack()


async def test_settling(local: Local, reader: Reader) -> None:
    await put(local.bus, "ack", "nak", "term", "nothing", "extended")
    found = {message.data: message for message in await reader.read(5)}
    began = time.monotonic()
    await found[b"ack"].ack()
    await found[b"nak"].nak(0.3)
    await found[b"term"].term("NO")
    (again,) = await reader.read(1)
    assert (again.data, again.deliveries) == (b"nak", 2)
    assert time.monotonic() - began >= 0.25
    await again.ack()
    for _ in range(4):
        await found[b"extended"].in_progress()
        await asyncio.sleep(0.4)
    (again,) = await reader.read(1)
    assert (again.data, again.deliveries) == (b"nothing", 2)
    await again.ack()
    await found[b"extended"].ack()
    await until(lambda: local.backlog(reader.pull.consumer), lambda left: left == 0)
    await asyncio.sleep(1.2)
    assert len(reader.pull) == 0


async def test_what_comes_later_is_not_waited_for_long(local: Local, reader: Reader) -> None:
    for _ in range(5):
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await put(local.bus, "x")
        (message,) = await reader.read(1)
        assert time.monotonic() - began < 0.5
        await message.ack()


async def test_no_more_wait_than_there_is_room_for(local: Local, consumer: Consumer) -> None:
    small = Reader(local.bus, consumer, window=10)
    await put(local.bus, *(f"{number}" for number in range(100)))
    await small.pull.start()
    await asyncio.sleep(0.3)
    assert len(small.pull) == 10
    seen = []
    for _ in range(100):
        (message,) = await small.read(1)
        await message.ack()
        seen.append(message.data)
        assert len(small.pull) <= 10
    assert len(set(seen)) == 100
    await small.pull.stop()


async def test_a_pause_asks_for_nothing_more(local: Local, consumer: Consumer) -> None:
    small = Reader(local.bus, consumer, window=4)
    await put(local.bus, *(f"{number}" for number in range(20)))
    await small.pull.start()
    await small.read(1)
    small.pull.pause()
    await asyncio.sleep(0.3)
    waiting = len(small.pull)
    assert waiting <= 4
    for message in await small.pull.take(100):
        await message.ack()
    await asyncio.sleep(0.3)
    assert len(small.pull) <= 4
    await small.pull.resume()
    assert await small.read(4)
    await small.pull.stop()


async def test_what_waits_unread_goes_to_another_at_once(local: Local, consumer: Consumer) -> None:
    slow = replace(consumer, ack_wait_s=30)
    one, two = Reader(local.bus, slow), Reader(local.bus, slow)
    await one.pull.start()
    await put(local.bus, *(f"{number}" for number in range(50)))
    await until(lambda: _length(one.pull), lambda count: count == 50)
    await two.pull.start()
    await one.pull.stop()
    found = await two.read(50, within_s=5)
    assert {message.deliveries for message in found} == {2}
    for message in found:
        await message.ack()
    await two.pull.stop()


async def _length(pull: Pull) -> int:
    return len(pull)


async def test_two_share_and_nobody_gets_the_same(local: Local, consumer: Consumer) -> None:
    slow = replace(consumer, ack_wait_s=30)
    one, two = Reader(local.bus, slow, 50), Reader(local.bus, slow, 50)
    await one.pull.start()
    await two.pull.start()
    await put(local.bus, *(f"{number}" for number in range(400)))
    seen: list[bytes] = []
    async with asyncio.timeout(10):
        while len(seen) < 400:
            for reader in (one, two):
                for message in await reader.pull.take(20):
                    seen.append(message.data)
                    await message.ack()
            await asyncio.sleep(0.001)
    assert len(set(seen)) == 400
    await one.pull.stop()
    await two.pull.stop()


@pytest.mark.parametrize("gone", ["consumer", "server"])
async def test_it_goes_on_after_what_it_reads_from_was_gone(
    rig: Rig, local: Local, reader: Reader, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    await put(local.bus, "before")
    (message,) = await reader.read(1)
    await message.ack()
    if gone == "server":
        await rig.killed("nats")
        await until(lambda: _is(local.bus.connected))
    else:
        await local.bus.api(f"CONSUMER.DELETE.{reader.pull.consumer.stream}.{reader.pull.consumer.name}")
        await local.bus.ensure_consumer(reader.pull.consumer)

    async def stored() -> bool:
        try:
            await put(local.bus, "after")
        except Exception:
            return False
        return True

    await until(stored)
    async with asyncio.timeout(20):
        while (await reader.read(1, within_s=20))[0].data != b"after":
            pass


async def _is(found: bool) -> bool:
    return found


async def test_a_request_that_got_lost_is_made_again(
    local: Local, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_module, "_HEARTBEAT_S", 1)
    monkeypatch.setattr(pull_module, "_SILENCE_S", 1.5)
    real = local.bus.client.publish
    lost: list[str] = []

    async def losing(subject: str, *args: Any, **named: Any) -> None:
        if "MSG.NEXT" in subject and not lost:
            lost.append(subject)
            return
        await real(subject, *args, **named)

    monkeypatch.setattr(local.bus.client, "publish", losing)
    reader = Reader(local.bus, consumer)
    await reader.pull.start()
    await put(local.bus, "x")
    (message,) = await reader.read(1)
    assert lost
    await message.ack()
    await reader.pull.stop()


async def test_settling_while_the_bus_is_away_raises_nothing(
    rig: Rig, local: Local, consumer: Consumer
) -> None:
    bus = await Bus.connect(rig.settings(), "closing")
    reader = Reader(bus, consumer)
    await put(local.bus, "x")
    await reader.pull.start()
    (message,) = await reader.read(1)
    await reader.pull.stop()
    await bus.close()
    await message.ack()
    await message.nak(1)


async def test_ready_waits_for_what_comes_first() -> None:
    wake, stopping = asyncio.Event(), asyncio.Event()
    began = time.monotonic()
    await ready(wake, stopping, 0.05)
    assert time.monotonic() - began >= 0.04
    wake.set()
    await ready(wake, stopping, 60)
    assert not wake.is_set()
    stopping.set()
    await ready(wake, stopping, 60)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("head", broken.HEADERS.values(), ids=broken.HEADERS)
async def test_a_message_with_broken_headers_is_handed_out_like_any_other(
    local: Local, reader: Reader, head: bytes
) -> None:
    """Or it would come again for ever, and a header that the client cannot read would end its reading for good."""
    await broken.publish(local.bus.client, INTAKE.encode(), head, b"odd")
    await put(local.bus, "good")
    found = await reader.read(2)
    assert [message.data for message in found] == [b"odd", b"good"]
    assert {message.deliveries for message in found} == {1}
    for message in found:
        await message.ack()


async def test_a_subject_that_is_no_text_is_handed_out_like_any_other(local: Local) -> None:
    consumer = replace(subjects.recorder(), name="odd")
    reader = Reader(local.bus, consumer)
    await reader.pull.start()
    await broken.publish(local.bus.client, b"crown.event.outcome.\xff\xfe", broken.PLAIN, b"odd")
    await local.bus.publish(Outgoing(subjects.event("sms"), b"good"))
    found = await reader.read(2)
    assert [message.data for message in found] == [b"odd", b"good"]
    for message in found:
        await message.ack()
    await reader.pull.stop()
    await local.bus.api(f"CONSUMER.DELETE.EVENT.{consumer.name}")
    await local.bus.api("STREAM.PURGE.EVENT")
