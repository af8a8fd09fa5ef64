"""Streams for programs: what waits for one that does not read, and how each ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from crown.errors import BusUnavailable, NotReady
from crown.live_position import Position
from services.realtime.live import Resync, read
from services.realtime.service import WAITING_MOST, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from crown import vault


async def test_events_are_read_in_order(data_key: vault.Key, sealed: Callable[..., bytes]) -> None:
    stream = Stream()
    stream.deliver([read(data_key, sealed(number), Position(number, "e")) for number in (1, 2)])
    assert [(await stream.read()).offset for _ in "12"] == [1, 2]
    waiting = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.deliver([read(data_key, sealed(3), Position(3, "e"))])
    assert (await waiting).offset == 3


async def test_a_hole_ends_the_stream() -> None:
    stream = Stream()
    stream.deliver([Resync("e2")])
    with pytest.raises(BusUnavailable):
        await stream.read()


async def test_a_stream_that_is_not_read_ends_and_keeps_no_more(
    data_key: vault.Key, sealed: Callable[..., bytes]
) -> None:
    stream = Stream()
    event = read(data_key, sealed(), Position(1, "e"))
    for _ in range(WAITING_MOST * 3):
        stream.deliver([event])
    with pytest.raises(NotReady):
        await stream.read()
    assert len(stream._waiting) <= WAITING_MOST + 1


async def test_a_reader_that_waits_is_told_of_the_end() -> None:
    stream = Stream()
    waiting = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0)
    stream.end(NotReady("going"))
    with pytest.raises(NotReady):
        await waiting
