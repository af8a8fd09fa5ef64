"""What waits for one caller: in order, bounded, and with an end that says why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from crown.errors import BusUnavailable, CrownError, NotReady
from crown.live_position import Position
from services.realtime.live import Ephemeral, Resync, read
from services.realtime.stream import WAITING_MOST, Backlog, Responses

if TYPE_CHECKING:
    from collections.abc import Callable

    from crown import vault


def stream() -> Backlog[str]:
    """One of plain text."""
    return Backlog(Responses())  # type: ignore[arg-type]


async def test_what_came_is_read_in_order_and_at_once() -> None:
    waiting = stream()
    waiting.deliver(["a"])
    waiting.deliver(["b", "c"])
    assert await waiting.read() == ["a", "b", "c"]
    later = asyncio.ensure_future(waiting.read())
    await asyncio.sleep(0)
    assert not later.done()
    waiting.deliver(["d"])
    assert await later == ["d"]


async def test_giving_up_on_waiting_loses_nothing() -> None:
    waiting = stream()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await waiting.read()
    waiting.deliver(["a"])
    assert await waiting.read() == ["a"]


async def test_a_hole_ends_it_behind_what_came_before() -> None:
    waiting = stream()
    waiting.deliver(["a", None, "b"])
    waiting.deliver(["c"])
    assert await waiting.read() == ["a"]
    for _ in "12":
        with pytest.raises(BusUnavailable):
            await waiting.read()


async def test_one_that_is_not_read_ends_and_keeps_no_more() -> None:
    waiting = stream()
    for _ in range(WAITING_MOST * 3):
        waiting.deliver(["x"])
        assert len(waiting._waiting) <= WAITING_MOST
    with pytest.raises(NotReady, match="too slowly"):
        await waiting.read()


async def test_a_reader_that_waits_is_told_of_the_end() -> None:
    waiting = stream()
    reading = asyncio.ensure_future(waiting.read())
    await asyncio.sleep(0)
    waiting.end(NotReady("going"))
    waiting.end(CrownError("something else"))
    with pytest.raises(NotReady):
        await reading


async def test_events_become_messages(data_key: vault.Key, sealed: Callable[..., bytes]) -> None:
    form = Responses()
    live = form.encode("user:ann", read(data_key, sealed(1), Position(7, "e")))
    brief = form.encode("user:ann", Ephemeral("unread_count", {"unread_count": 3}))
    hole = form.encode("user:ann", Resync(Position(9, "e")))
    (first, second, third) = form.together([live, brief, hole])
    assert first is not None
    assert (first.offset, first.epoch, first.notification.notification_id) == (7, "e", "n1")
    assert second is not None
    assert (second.offset, second.event, dict(second.payload)) == (0, "unread_count", {"unread_count": 3})
    assert third is None
