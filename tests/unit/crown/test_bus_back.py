"""A link that was lost just now is waited for, and no other."""

from __future__ import annotations

import asyncio
import time

from crown.bus import Bus

AT_ONCE_S = 0.1


class Link:
    """A NATS client, as far as it is asked here."""

    def __init__(self, connected: bool) -> None:
        self.is_connected = connected


def bus(connected: bool) -> tuple[Bus, Link]:
    link = Link(connected)
    return Bus(link, []), link  # type: ignore[arg-type]


async def test_it_comes_back_in_time() -> None:
    found, link = bus(connected=False)
    await found._on_disconnected()
    asyncio.get_running_loop().call_later(0.1, lambda: setattr(link, "is_connected", True))
    assert await found.back()


async def test_it_does_not_come_back() -> None:
    found, _ = bus(connected=False)
    await found._on_disconnected()
    began = time.monotonic()
    assert not await found.back()
    assert 0.4 < time.monotonic() - began < 5
    # From then on nobody waits.
    began = time.monotonic()
    assert not await found.back()
    assert time.monotonic() - began < AT_ONCE_S


async def test_where_it_stands_there_is_nothing_to_wait_for() -> None:
    found, _ = bus(connected=True)
    began = time.monotonic()
    assert not await found.back()
    assert time.monotonic() - began < AT_ONCE_S
