"""The life of a channel service once it is wired: connect, then serve and deliver side by side until told to
stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from crown import rpc
from crown.bus import Bus
from crown.channel_settings import ChannelSettings
from crown.delivery import Engine
from crown.desk import PersonDesk
from crown.direct import DirectSend
from crown.ledger import Ledger
from crown.notification.v1.types_pb2 import Channel
from crown.people import People
from crown.recipients import Recipients
from crown.route import Route
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


def engine(
    settings: ChannelSettings, to: Connections, channel: Channel.Type.ValueType, route: Route
) -> Engine:
    """The engine of a channel that leads to people."""
    desk = PersonDesk(channel, to.store.db, to.data_key)
    return Engine(channel, route, desk, to.bus, to.store, Ledger(to.store.db), settings.in_flight)


async def run(
    settings: ChannelSettings,
    to: Connections,
    server: Server,
    engine: Engine,
    direct: DirectSend,
    route: Route,
    stopping: asyncio.Event,
) -> None:
    """Serves and delivers until `stopping` is set, then lets both finish for the grace period and closes the
    route. Ends the process where the bus is lost for good."""
    try:
        async with server.serving(engine.healthy), asyncio.TaskGroup() as tasks:
            tasks.create_task(engine.run(stopping, settings.grace_s), name="deliver")
            await rpc.until(stopping, to.bus.closed)
            # Callers go elsewhere while the last deliveries end.
            await server.health.enter_graceful_shutdown()
    finally:
        await direct.drain()
        await route.close()
