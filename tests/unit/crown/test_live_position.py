"""Where live events stand, as a bus says it that is well, away, slow, or came back just now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from crown.bus import BusError
from crown.errors import BusUnavailable
from crown.live_position import NOWHERE, LivePosition, Position, epoch

FOUND = {"created": "2026-11-22T12:00:00Z", "config": {"num_replicas": 1}, "state": {"last_seq": 7}}


class FakeClient:
    """Counts its reconnects."""

    def __init__(self) -> None:
        self.stats = {"reconnects": 0}


class FakeBus:
    """Answers the one question as it is told to."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.connected = True
        self.server_id = "A"
        self.asked = 0
        self.answer: Callable[[], Awaitable[dict[str, Any]]] = self.well

    async def api(self, call: str) -> dict[str, Any]:
        """See Bus."""
        assert call == "STREAM.INFO.REALTIME"
        self.asked += 1
        return await self.answer()

    async def well(self) -> dict[str, Any]:
        """At once."""
        return FOUND

    async def never(self) -> dict[str, Any]:
        """Not at all."""
        await asyncio.Event().wait()
        raise AssertionError

    async def after_reconnect(self) -> dict[str, Any]:
        """On a connection that is another one by now."""
        self.client.stats["reconnects"] += 1
        return FOUND

    async def away(self) -> dict[str, Any]:
        """The link breaks."""
        raise BusUnavailable("away")

    async def refusing(self) -> dict[str, Any]:
        """There is no such stream."""
        raise BusError(10059, "stream not found")


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


def position(bus: FakeBus) -> LivePosition:
    return LivePosition(bus)  # type: ignore[arg-type]


async def test_the_end_of_the_stream_in_its_epoch(bus: FakeBus) -> None:
    assert await position(bus).read() == Position(7, epoch(str(FOUND["created"]), "A", 1))


async def test_one_look_answers_many(bus: FakeBus) -> None:
    read = position(bus).read
    assert len(set(await asyncio.gather(*(read() for _ in range(50))))) == 1
    assert bus.asked == 1


async def test_a_later_question_is_a_later_look(bus: FakeBus) -> None:
    """An answer from before would let events pass that were told between."""
    reader = position(bus)
    await reader.read()
    await reader.read()
    assert bus.asked == 2


@pytest.mark.parametrize("trouble", ["after_reconnect", "away", "refusing", "never"])
async def test_what_nobody_can_say_is_nowhere_and_soon(bus: FakeBus, trouble: str) -> None:
    bus.answer = getattr(bus, trouble)
    reader = position(bus)
    began = time.monotonic()
    assert await asyncio.gather(*(reader.read() for _ in range(400))) == [NOWHERE] * 400
    assert time.monotonic() - began < 2.0


async def test_who_waits_for_those_before_waits_no_longer_for_it(bus: FakeBus) -> None:
    bus.answer = bus.never
    reader = position(bus)
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for looks in (1, 2, 2):
            tasks.create_task(reader.read())
            await asyncio.sleep(0.01)
            assert bus.asked == looks
    assert time.monotonic() - began < 2.0


async def test_a_look_that_hung_is_in_nobody_s_way(bus: FakeBus) -> None:
    bus.answer = bus.never
    reader = position(bus)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(reader.read())
            await asyncio.sleep(0.01)
    bus.answer = bus.well
    assert (await reader.read()).offset == 7


async def test_a_bus_that_is_away_is_not_asked(bus: FakeBus) -> None:
    bus.connected = False
    assert await position(bus).read() == NOWHERE
    assert bus.asked == 0


def test_an_epoch_is_of_one_run_or_of_one_stream() -> None:
    assert epoch("2026", "A", 1) != epoch("2026", "B", 1)
    assert epoch("2026", "A", 3) == epoch("2026", "B", 3)
    assert epoch("2026", "A", 3) != epoch("2027", "A", 3)
