"""The realtime process: sockets for people, streams for programs."""

from __future__ import annotations

import asyncio

from crown import rpc, vault
from crown.bus import Bus
from crown.notification.v1 import realtime_service_pb2
from services.realtime import sockets
from services.realtime.feed import Feed
from services.realtime.hub import Hub
from services.realtime.origins import Origins
from services.realtime.service import RealtimeService
from services.realtime.settings import Settings


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    """Connects, serves until `stopping`, drains."""
    bound = sockets.bind(settings.bind, settings.websocket_port)
    data_key = vault.data_key(settings.data_key.get_secret_value())
    bus = await Bus.connect(settings, "realtime")
    feed = Feed(bus, settings.stream_max_bytes)
    await feed.start()
    hub = Hub(feed, data_key)

    server = rpc.Server(settings)
    await server.authenticator.warm()
    service = RealtimeService(hub, bus, data_key)
    (described,) = realtime_service_pb2.DESCRIPTOR.services_by_name.values()
    server.add(described, service, service.checks())

    async def healthy() -> bool:
        return bus.connected and feed.current

    async with server.serving(healthy), asyncio.TaskGroup() as tasks:
        origins = Origins.of(settings.allowed_origins)
        people = sockets.Sockets(hub, server.authenticator, origins, tasks, settings.idle_s)
        background = (tasks.create_task(feed.run(hub.resync)), tasks.create_task(people.watch()))
        await people.listen(bound)
        await rpc.until(stopping, bus.closed)
        await server.health.enter_graceful_shutdown()
        hub.drain()
        service.drain()
        await people.drain(settings.grace_s)
        for task in background:
            task.cancel()
    await bus.close()


if __name__ == "__main__":
    rpc.run("realtime", Settings, main)
