"""Unread counts: after a change, once in a while, to every tab, and never in the way of anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.services.realtime.conftest import Connection, FakeFeed, FakeUnread

TOPIC = "user:ann"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.realtime.counts.GATHERED_S", 0.02)


async def counts(client: Connection) -> list[int]:
    """What the client was told since."""
    await asyncio.sleep(0.05)
    return [frame[4]["unread_count"] for frame in await client.heard() if frame[3] == "unread_count"]


async def test_a_fresh_tab_is_told(client: Connection, unread: FakeUnread) -> None:
    unread.counts["ann"] = 3
    await client.ask("1", "1", TOPIC, "phx_join", {})
    assert await counts(client) == [3]


async def test_many_changes_are_counted_once_and_told_to_every_tab(
    connect: Callable[..., Connection], feed: FakeFeed, unread: FakeUnread, sealed: Callable[..., bytes]
) -> None:
    tabs = [connect("ann", "user", "a"), connect("ann", "user", "b")]
    for tab in tabs:
        await tab.ask("1", "1", TOPIC, "phx_join", {})
    for tab in tabs:
        await counts(tab)
    unread.asked, unread.counts["ann"] = 0, 20
    for number in range(20):
        feed.publish(TOPIC, sealed(number))
    assert [await counts(tab) for tab in tabs] == [[20], [20]]
    assert unread.asked == 1


async def test_who_comes_back_and_missed_nothing_costs_no_count(
    client: Connection, feed: FakeFeed, unread: FakeUnread, sealed: Callable[..., bytes]
) -> None:
    feed.store(TOPIC, sealed())
    await client.ask("1", "1", TOPIC, "phx_join", {"since": 1, "epoch": "e1"})
    assert await counts(client) == []
    assert unread.asked == 0
    feed.store(TOPIC, sealed())
    await client.ask("2", "2", TOPIC, "phx_join", {"since": 1, "epoch": "e1"})
    assert await counts(client) == [0]


async def test_a_store_that_is_away_is_nobodys_trouble(
    client: Connection, feed: FakeFeed, unread: FakeUnread, sealed: Callable[..., bytes]
) -> None:
    unread.away = True
    await client.ask("1", "1", TOPIC, "phx_join", {})
    assert await counts(client) == []
    unread.away = False
    feed.publish(TOPIC, sealed())
    assert await counts(client) == [0]
