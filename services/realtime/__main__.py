"""The realtime process: sockets for people, streams for programs."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from socket import socket
from typing import Any

from redis.asyncio import Redis

from crown import rpc, tls
from crown.auth import Authenticator
from crown.broadcasts import Broadcasts
from crown.bus import Bus
from crown.groups import Groups
from crown.notification.v1 import realtime_service_pb2
from crown.preferences import Preferences
from crown.presence import Presence, connect
from crown.revocations import Disconnect, Revocations
from crown.store import Store
from crown.unread import Unread
from services.realtime import listeners, processes, sockets
from services.realtime.channel import Backend
from services.realtime.counts import UnreadCounts
from services.realtime.everyone import Everyone
from services.realtime.feed import Feed
from services.realtime.hub import Hub
from services.realtime.longpoll import LongPoll
from services.realtime.memberships import Memberships
from services.realtime.origins import Origins
from services.realtime.people import People
from services.realtime.presence.board_redis import RedisBoard
from services.realtime.presence.tracker import Tracker
from services.realtime.proxies import Proxies
from services.realtime.service import RealtimeService
from services.realtime.sessions import Sessions
from services.realtime.settings import Settings
from services.realtime.tasks import Spawn, spawner
from services.realtime.vitals import Vitals

_NODE_BYTES = 6


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    """Connects, serves until `stopping`, drains."""
    bound = listeners.take(settings, listeners.WEBSOCKET)
    polled = listeners.take(settings, listeners.LONGPOLL)
    listeners.stop_with_supervisor(settings, stopping)
    bus = await Bus.connect(settings, "realtime")
    # Joining one's own topic needs the bus alone, so health asks nothing else.
    store = Store.open(settings, "realtime")
    redis = connect(settings.redis_host.get_secret_value())
    feed = Feed(bus)
    await feed.start()
    revocations = Revocations(bus)
    identity = tls.identity(settings)
    server = rpc.Server(settings, revocations)
    await server.authenticator.warm()

    async def healthy() -> bool:
        return bus.connected and feed.current

    async with asyncio.TaskGroup() as tasks:
        node = _node(settings, bus, store, redis, feed, revocations, server, spawner(tasks))
        async with server.serving(healthy):
            background = [tasks.create_task(work) for work in node.background()]
            _spare_the_collector()
            await node.everyone.start()
            shown = identity.server_context() if identity else None
            listeners.tell_of_handshakes()
            await node.people.listen(bound, shown)
            await node.sessions.start()
            await node.polls.listen(polled, shown)
            renewals = node.renewals(tasks, identity, bound, polled) if identity else []
            await rpc.until(stopping, bus.closed)
            await server.health.enter_graceful_shutdown()
            for task in renewals:
                task.cancel()
            await node.drain(settings.grace_s)
            for task in background:
                task.cancel()
        await node.presence.close()
    await redis.aclose()
    await store.close()
    await bus.close()


@dataclass(frozen=True, slots=True)
class _Node:
    """The parts of a process that live side by side."""

    feed: Feed
    hub: Hub
    everyone: Everyone
    memberships: Memberships
    presence: Tracker
    people: sockets.Sockets
    sessions: Sessions
    polls: LongPoll
    service: RealtimeService
    vitals: Vitals

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """What runs until the process ends."""
        return [
            self.feed.run(self.hub.reconnected),
            self.hub.watch(),
            self.people.watch(),
            self.sessions.watch(),
            self.memberships.watch(),
            self.presence.run(),
            self.vitals.tell(),
        ]

    def renewals(
        self, tasks: asyncio.TaskGroup, identity: tls.Identity, bound: socket, polled: socket
    ) -> list[asyncio.Task[None]]:
        """What shows clients each certificate that we get."""
        return [
            tasks.create_task(listeners.renew(bound, self.people.listen, identity)),
            tasks.create_task(listeners.renew(polled, self.polls.listen, identity)),
        ]

    async def drain(self, grace_s: float) -> None:
        """Sends everybody to other nodes."""
        self.hub.drain()
        self.service.drain()
        await self.polls.refuse()
        await self.people.drain(grace_s)
        await self.polls.close()
        await self.sessions.stop()


def _node(
    settings: Settings,
    bus: Bus,
    store: Store,
    redis: Redis,
    feed: Feed,
    revocations: Revocations,
    server: rpc.Server,
    spawn: Spawn,
) -> _Node:
    """Puts the parts together, and the service into the server."""
    name = os.urandom(_NODE_BYTES).hex()
    data_key = settings.vault_key
    hub = Hub(feed, data_key, spawn)
    backend = _backend(hub, store, redis, server.authenticator, spawn)
    everybody = People(spawn, settings.connections_per_user, backend.presence)
    people = sockets.Sockets(
        name,
        backend,
        server.authenticator,
        Origins.of(settings.allowed_origins),
        everybody,
        limits=settings.limits,
        proxies=Proxies.of(settings.trusted_proxies),
        idle_s=settings.idle_s,
    )
    sessions = Sessions(name, bus, data_key, spawn, settings.longpoll_window_s)
    service = RealtimeService(hub, bus, data_key, Presence(redis))
    if settings.tls_folder:
        people.only(tls.callers(settings.tls_callers))

    def ended(what: Disconnect) -> None:
        if what.use == "user":
            everybody.end(what)
        else:
            people.cut_off(what.concerns)

    revocations.on_disconnect(ended)
    revocations.on_disconnect(service.streams.cut_off)

    def withdrawn(key_ids: frozenset[str]) -> None:
        people.cut_off(lambda principal: principal.key_id in key_ids)
        service.streams.withdraw(key_ids)

    server.authenticator.on_withdrawn(withdrawn)
    (described,) = realtime_service_pb2.DESCRIPTOR.services_by_name.values()
    server.add(described, service, service.checks())
    return _Node(
        feed=feed,
        hub=hub,
        everyone=Everyone(
            bus,
            hub,
            Preferences(store.db),
            Broadcasts(store.db).newest,
            backend.counts.changed,
            data_key,
            spawn,
        ),
        memberships=backend.memberships,
        presence=backend.presence,
        people=people,
        sessions=sessions,
        polls=LongPoll(people, sessions),
        service=service,
        vitals=Vitals(name, bus, hub),
    )


def _backend(hub: Hub, store: Store, redis: Redis, authenticator: Authenticator, spawn: Spawn) -> Backend:
    """What the channels of sockets stand on."""
    presence = Tracker(RedisBoard(redis), hub.publish_ephemeral, hub.stale)
    hub.on_presence(presence.heard)
    groups = Groups(store.db)
    return Backend(
        hub=hub,
        groups=groups,
        memberships=Memberships(groups),
        counts=UnreadCounts(Unread(store.db), hub, spawn),
        presence=presence,
        authenticator=authenticator,
        spawn=spawn,
    )


def _spare_the_collector() -> None:
    """Sockets make many objects that stay and hardly any cycles: going through all of them again and again would hold
    every frame up for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 1_000)


if __name__ == "__main__":
    processes.several()
    rpc.run("realtime", Settings, main)
