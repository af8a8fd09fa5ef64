"""Starts one role of ingest: `python -m services.ingest api | dispatch | record | webhook | filter`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from redis.asyncio import Redis

from crown import rpc, subjects, tls, webhook_secrets
from crown.bus import Bus
from crown.notification.v1 import (
    books_service_pb2,
    contact_service_pb2,
    dead_letter_service_pb2,
    device_service_pb2,
    email_callback_service_pb2,
    email_service_pb2,
    filter_service_pb2,
    group_service_pb2,
    inbox_service_pb2,
    ingest_service_pb2,
    person_service_pb2,
    preference_service_pb2,
    push_service_pb2,
    realtime_service_pb2,
    schedule_service_pb2,
    sms_callback_service_pb2,
    sms_service_pb2,
    status_service_pb2,
    suppression_service_pb2,
    template_service_pb2,
)
from crown.people import People
from crown.recipients import Recipients
from crown.revocations import Revocations
from crown.settings import TokenSettings, file_of
from crown.store import Store
from crown.suppressions import Suppressions
from crown.token_file import Token
from crown.watchdog import watching
from crown.webhook_secrets import WebhookSecrets
from services.ingest.books.auditor import Auditor
from services.ingest.books.books import BooksService
from services.ingest.books.disband import Disbander
from services.ingest.books.janitor import Janitor
from services.ingest.books.lag import LagWatch
from services.ingest.books.recorder import Recorder
from services.ingest.books.retention import Retention
from services.ingest.books.sweep import Sweeper
from services.ingest.cancelling import Cancelling
from services.ingest.clock.clock import Clock
from services.ingest.contacts import ContactService
from services.ingest.dead.replays import Carrier
from services.ingest.dead.service import DeadLetterService
from services.ingest.dead.undertaker import Undertaker
from services.ingest.dispatch.dispatcher import Dispatcher
from services.ingest.dispatch.filtering import FilterClient, Filtering
from services.ingest.filter.rules import Bounds
from services.ingest.filter.service import FilterService
from services.ingest.filter_settings import OwnFilterSettings
from services.ingest.groups import GroupService
from services.ingest.inbox.service import InboxService
from services.ingest.intake.intake import Intake
from services.ingest.intake.keys import KeyBook
from services.ingest.intake.quota import Quota
from services.ingest.intake.service import IngestService
from services.ingest.people.erasure import Eraser
from services.ingest.people.export import Exporter
from services.ingest.people.finisher import Finisher
from services.ingest.people.service import PersonService
from services.ingest.preferences.service import PreferenceService
from services.ingest.prepare import prepare
from services.ingest.readiness import StatusService
from services.ingest.schedules.firing import Firing
from services.ingest.schedules.service import ScheduleService
from services.ingest.settings import IngestSettings
from services.ingest.suppressions import SuppressionService
from services.ingest.webhook import engine as webhook_engine

_CAMPAIGN_NICENESS = 10
# What the gateway's reflection lists: every service of the suite, whoever serves it.
_SUITE = (
    device_service_pb2.DESCRIPTOR,
    email_callback_service_pb2.DESCRIPTOR,
    email_service_pb2.DESCRIPTOR,
    push_service_pb2.DESCRIPTOR,
    realtime_service_pb2.DESCRIPTOR,
    sms_callback_service_pb2.DESCRIPTOR,
    sms_service_pb2.DESCRIPTOR,
    template_service_pb2.DESCRIPTOR,
)


async def api(settings: IngestSettings, stopping: asyncio.Event) -> None:
    """Accepts and answers. Accepting needs the bus alone, so health asks nothing else."""
    data_key = settings.vault_key
    bus = await Bus.connect(settings, "ingest-api")
    store = Store.open(settings, "ingest-api")
    redis = _redis(settings)
    quota = Quota(settings.rates, settings.shares, redis)
    keys = KeyBook(redis, store.db)
    intake = Intake(bus, keys, quota, data_key, settings.allowed_hosts, settings.callable_hosts)
    ingest = IngestService(intake, keys, quota, store.db, Cancelling(bus, store.db))
    contacts = ContactService(Recipients(store.db, People(store.db, data_key)))
    dead_letters = DeadLetterService(bus, store.db, data_key)

    server = rpc.Server(settings, Revocations(bus))
    status = StatusService(settings.peer_addresses, tls.identity(settings), lambda: server.ready)
    server.add(_only(ingest_service_pb2.DESCRIPTOR), ingest, ingest.checks())
    server.add(_only(inbox_service_pb2.DESCRIPTOR), InboxService(bus, store.db, data_key))
    server.add(_only(group_service_pb2.DESCRIPTOR), GroupService(bus, store.db))
    preferences = PreferenceService(store.db)
    server.add(_only(preference_service_pb2.DESCRIPTOR), preferences, preferences.checks())
    server.add(_only(contact_service_pb2.DESCRIPTOR), contacts, contacts.checks())
    server.add(_only(dead_letter_service_pb2.DESCRIPTOR), dead_letters, dead_letters.checks())
    people = PersonService(Finisher(Eraser(bus, store, redis, data_key)), Exporter(store.db, redis, data_key))
    server.add(_only(person_service_pb2.DESCRIPTOR), people)
    books = BooksService(bus, store.db)
    server.add(_only(books_service_pb2.DESCRIPTOR), books, books.checks())
    schedules = ScheduleService(bus, store.db, data_key, intake)
    server.add(_only(schedule_service_pb2.DESCRIPTOR), schedules, schedules.checks())
    server.add(_only(status_service_pb2.DESCRIPTOR), status)
    suppressions = SuppressionService(Suppressions(store.db, data_key))
    server.add(_only(suppression_service_pb2.DESCRIPTOR), suppressions, suppressions.checks())
    server.describe(_only(file).full_name for file in _SUITE)

    async def healthy() -> bool:
        return await bus.takes(subjects.intake_stream("normal"))

    async with server.serving(healthy), asyncio.TaskGroup() as tasks:
        tasks.create_task(status.mirror(server.health, stopping))
        tasks.create_task(quota.run(stopping))
        tasks.create_task(rpc.until(stopping, bus.closed))
    await status.close()
    await redis.aclose()
    await bus.close()
    await store.close()


async def dispatch(settings: IngestSettings, stopping: asyncio.Event) -> None:
    """Decides who gets what where, and again about what was deferred."""
    if "critical" not in settings.lanes:
        # On a machine that is full, a campaign waits, and not the servers or what is critical.
        os.nice(_CAMPAIGN_NICENESS)
    bus = await Bus.connect(settings, "ingest-dispatch")
    store = await Store.connect(settings, "ingest-dispatch")
    data_key = settings.vault_key
    redis = Redis.from_url(settings.redis_host.get_secret_value(), socket_timeout=1, socket_connect_timeout=1)
    client = _filter_client(settings)
    filtering = Filtering(client, redis, store.db, data_key) if client else None
    dispatcher = Dispatcher(bus, store, data_key, settings.lanes, filtering)
    server = rpc.Server(settings, None)
    async with server.serving(dispatcher.healthy), asyncio.TaskGroup() as tasks:
        tasks.create_task(dispatcher.run(stopping))
        tasks.create_task(Clock(bus, store, data_key, settings.lanes).run(stopping))
        tasks.create_task(rpc.until(stopping, bus.closed))
    if client is not None:
        await client.close()
    await redis.aclose()
    await bus.close()
    await store.close()


async def record(settings: IngestSettings, stopping: asyncio.Event) -> None:
    """Keeps the books: timeline, dead letters and their replays, what got stuck, what was settled, what is old,
    what deleted groups and people who were erased left. And sends what schedules say."""
    bus = await Bus.connect(settings, "ingest-record")
    store = await Store.connect(settings, "ingest-record")
    redis = _redis(settings)
    data_key = settings.vault_key
    grace = timedelta(seconds=settings.schedule_grace_s)

    async def healthy() -> bool:
        return await bus.healthy() and await store.healthy()

    server = rpc.Server(settings, None)
    async with server.serving(healthy), asyncio.TaskGroup() as tasks:
        tasks.create_task(Recorder(bus, store).run(stopping))
        tasks.create_task(Sweeper(bus, store, settings.sweep_period_s).run(stopping))
        tasks.create_task(Undertaker(bus, store).run(stopping))
        tasks.create_task(Carrier(bus, store).run(stopping))
        tasks.create_task(Janitor(bus).run(stopping))
        tasks.create_task(Retention(store).run(stopping))
        tasks.create_task(Finisher(Eraser(bus, store, redis, data_key)).run(stopping))
        tasks.create_task(Auditor(bus, store).run(stopping))
        tasks.create_task(LagWatch(bus).run(stopping))
        tasks.create_task(Disbander(store, settings.sweep_period_s).run(stopping))
        tasks.create_task(Firing(bus, store, data_key, grace).run(stopping))
        tasks.create_task(rpc.until(stopping, bus.closed))
    await redis.aclose()
    await bus.close()
    await store.close()


async def webhook(settings: IngestSettings, stopping: asyncio.Event) -> None:
    """Tells senders what became of what they sent."""
    given = webhook_secrets.parse(settings.webhook_secret.get_secret_value())
    secrets = WebhookSecrets(given, settings.vault_key)
    bus = await Bus.connect(settings, "ingest-webhook")
    store = await Store.connect(settings, "ingest-webhook")
    route = webhook_engine.route(settings.callable_hosts, secrets)
    engine = webhook_engine.engine(bus, store, settings.callable_hosts, route)
    server = rpc.Server(settings, None)
    with watching():
        async with server.serving(engine.healthy), asyncio.TaskGroup() as tasks:
            tasks.create_task(engine.run(stopping, settings.grace_s))
            tasks.create_task(rpc.until(stopping, bus.closed))
    await route.close()
    await bus.close()
    await store.close()


async def filter_role(settings: OwnFilterSettings, stopping: asyncio.Event) -> None:
    """The suite's own filter: an example of one, and good enough where there is no other."""
    # It has no bus to hear of revocations by: what dispatch shows here is believed until it expires.
    server = rpc.Server(settings, None)
    bounds = Bounds(settings.per_hour, settings.per_day)
    server.add(_only(filter_service_pb2.DESCRIPTOR), FilterService(bounds))

    async def healthy() -> bool:
        return True

    async with server.serving(healthy):
        await stopping.wait()


def _filter_client(settings: IngestSettings) -> FilterClient | None:
    if not settings.filter_address:
        return None
    token = Token(settings.filter_token.get_secret_value(), file_of("CROWN_FILTER_TOKEN"))
    limit_s = settings.filter_timeout_ms / 1_000
    return FilterClient(settings.filter_address, token, limit_s, tls.identity(settings))


def _redis(settings: IngestSettings) -> Redis:
    return Redis.from_url(settings.redis_host.get_secret_value(), socket_timeout=1, socket_connect_timeout=1)


def _only(file: FileDescriptor) -> ServiceDescriptor:
    """The one service of a file of the contract."""
    (service,) = file.services_by_name.values()
    return service


_Main = Callable[[Any, asyncio.Event], Awaitable[None]]
_ROLES: dict[str, tuple[type[TokenSettings], _Main]] = {
    "api": (IngestSettings, api),
    "dispatch": (IngestSettings, dispatch),
    "record": (IngestSettings, record),
    "webhook": (IngestSettings, webhook),
    "filter": (OwnFilterSettings, filter_role),
    "prepare": (IngestSettings, prepare),
}


def main() -> None:
    """Runs the role that the first argument names."""
    role = sys.argv[1] if len(sys.argv) == 2 else ""
    if role not in _ROLES:
        print(f"usage: python -m services.ingest {' | '.join(_ROLES)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2)
    settings_type, work = _ROLES[role]
    rpc.run(f"ingest-{role}", settings_type, work)


if __name__ == "__main__":
    main()
