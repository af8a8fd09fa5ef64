"""The life of a channel service once it is wired: connect, then serve and deliver side by side until told to
stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from crown import rpc
from crown.bus import Bus
from crown.channel_settings import ChannelSettings
from crown.delivery import Engine
from crown.direct import DirectSend
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
    providers. Ends the process where the bus is lost for good."""
    try:
        async with server.serving(engine.healthy), asyncio.TaskGroup() as tasks:
            tasks.create_task(engine.run(stopping, settings.grace_s), name="deliver")
            await rpc.until(stopping, to.bus.closed)
            # Callers go elsewhere while the last deliveries end.
            await server.health.enter_graceful_shutdown()
    finally:
        await direct.drain()
        for provider in providers:
            await provider.close()
