"""The life of a channel service once it is wired: connect, then serve and deliver side by side until told to
stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from crown import logs, rates, rpc
from crown.bus import Bus
from crown.channel_settings import ChannelSettings
from crown.delivery import Engine
from crown.desk import Desk, PersonDesk
from crown.direct import DirectSend
from crown.ledger import Ledger
from crown.notification.v1.types_pb2 import Channel
from crown.people import People
from crown.provider import Provider
from crown.rates import Rates
from crown.recipients import Recipients
from crown.route import Route
from crown.rpc import Server
from crown.store import Store
from crown.subjects import NAMES
from crown.suppressions import Suppressions
from crown.vault import Key
from crown.watchdog import watching

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Connections:
    """What every channel service is connected to."""

    store: Store
    bus: Bus
    data_key: Key
    recipients: Recipients
    # Connects when it is first asked something.
    redis: Redis


@asynccontextmanager
async def connected(settings: ChannelSettings, name: str) -> AsyncIterator[Connections]:
    """Connects, and closes when the block ends. Raises StoreUnavailable and BusUnavailable."""
    store = await Store.connect(settings, name)
    try:
        bus = await Bus.connect(settings, name)
        try:
            key = settings.vault_key
            redis = Redis.from_url(
                settings.redis_host.get_secret_value(), socket_timeout=1, socket_connect_timeout=1
            )
            try:
                yield Connections(store, bus, key, Recipients(store.db, People(store.db, key)), redis)
            finally:
                await redis.aclose()
        finally:
            await bus.close()
    finally:
        await store.close()


def route(
    settings: ChannelSettings,
    to: Connections,
    channel: Channel.Type.ValueType,
    providers: Sequence[Provider],
    shares: Mapping[str, int] | None = None,
) -> Route:
    """The route of a channel over `providers`, in the order of preference and with these weights."""
    name = NAMES[channel]
    per_second = rates.parse(settings.provider_rates)
    for unknown in per_second.keys() - {provider.name for provider in providers}:
        # Not refused: the same variable may be given to the processes of every channel.
        log.info("rate_for_another_channel", channel=name, provider=unknown)
    return Route(
        providers,
        shares,
        channel=name,
        rates=Rates(name, per_second, to.redis) if per_second else None,
        most=settings.in_flight,
        timeout_s=settings.provider_timeout_s,
    )


def direct(to: Connections, channel: Channel.Type.ValueType, route: Route) -> DirectSend:
    """What sends for callers who wait."""
    return DirectSend(to.store.db, channel, route, Suppressions(to.store.db, to.data_key))


def engine(
    settings: ChannelSettings,
    to: Connections,
    channel: Channel.Type.ValueType,
    route: Route,
    desk: Desk | None = None,
) -> Engine:
    """The engine of a channel that leads to people, with a desk of its own where it has one."""
    desk = desk or PersonDesk(channel, to.store.db, to.data_key)
    ledger, rules = Ledger(to.store.db), settings.rules
    return Engine(channel, route, desk, to.bus, to.store, ledger, settings.in_flight, rules=rules)


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
    route. Ends the process where the bus is lost for good, or where its loop stands still."""
    try:
        with watching():
            async with server.serving(engine.healthy), asyncio.TaskGroup() as tasks:
                tasks.create_task(engine.run(stopping, settings.grace_s), name="deliver")
                await rpc.until(stopping, to.bus.closed)
                # Callers go elsewhere while the last deliveries end.
                await server.health.enter_graceful_shutdown()
    finally:
        await direct.drain()
        await route.close()
