"""The life of a channel service once it is wired: serve and deliver side by side until told to stop, or until
the bus is lost for good, which ends the process so that its supervisor starts a new one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from crown.bus import Bus
from crown.channel_settings import ChannelSettings
from crown.delivery import Engine
from crown.direct import DirectSend
from crown.errors import BusUnavailable
from crown.people import People
from crown.provider import Provider
from crown.recipients import Recipients
from crown.rpc import Server
from crown.store import Store
from crown.vault import Key, data_key


@dataclass(frozen=True, slots=True)
class Connections:
    """What every channel service is connected to."""

    store: Store
    bus: Bus
    data_key: Key
    recipients: Recipients


@asynccontextmanager
async def connected(settings: ChannelSettings, name: str) -> AsyncIterator[Connections]:
    """Connects, and closes when the block ends. Raises StoreUnavailable and BusUnavailable."""
    store = await Store.connect(settings, name)
    try:
        bus = await Bus.connect(settings, name)
        try:
            key = data_key(settings.data_key.get_secret_value())
            yield Connections(store, bus, key, Recipients(store.db, People(store.db, key)))
        finally:
            await bus.close()
    finally:
        await store.close()


async def run(
    settings: ChannelSettings,
    to: Connections,
    server: Server,
    engine: Engine,
    direct: DirectSend,
    providers: Sequence[Provider],
    stopping: asyncio.Event,
) -> None:
    """Serves and delivers until `stopping` is set, then lets both finish for the grace period and closes the
    providers. Raises BusUnavailable where the bus is lost for good."""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(engine.run(stopping, settings.grace_s), name="deliver")
            async with server.serving(engine.healthy):
                await _stopped(stopping, to.bus)
    except ExceptionGroup as group:
        # The first is the cause; the others followed from it.
        raise group.exceptions[0] from None
    finally:
        await direct.drain()
        for provider in providers:
            await provider.close()


async def _stopped(stopping: asyncio.Event, bus: Bus) -> None:
    waits = [asyncio.create_task(event.wait()) for event in (stopping, bus.closed)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if bus.closed.is_set():
        raise BusUnavailable("the link to the bus is lost for good")
