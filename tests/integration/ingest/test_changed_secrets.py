"""Secrets are changed as docs/operations.md says, while notifications are sent: none is refused and none is lost."""

from __future__ import annotations

import asyncio
import base64
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from os import kill
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from grpc.aio import AioRpcError

from crown.delivery import Engine
from crown.desk import PersonDesk
from crown.http import Http
from crown.ledger import Ledger
from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.types_pb2 import Channel
from crown.rendering import Links
from crown.route import Route
from crown.vault import Key
from crown.webhook_secrets import WebhookSecrets
from services.email.message import Composer, Letterhead
from services.email.sendgrid.provider import SendGrid
from services.ingest.books.recorder import Recorder
from services.ingest.webhook import engine as webhook_engine
from services.ingest.webhook.hosts import WebhookHosts
from tests.integration.crown import conftest
from tests.integration.local import Local
from tests.integration.rig import Rig, Service, until
from tests.receiver import receiving

quick = conftest.quick
OLD, NEW = "heron-old", "heron-new"


async def send(rig: Rig, service: Service, user_id: str, title: str) -> str:
    """Sends one by the API `service`, which has to accept it."""
    request = SendNotificationRequest(type="IN_APP", user_id=user_id, data={"title": title})  # type: ignore[arg-type]
    metadata = (("authorization", f"Bearer {rig.token()}"),)
    stub = IngestServiceStub(service.channel)
    return str((await stub.SendNotification(request, metadata=metadata, timeout=10)).notification_id)


async def titles(rig: Rig, service: Service, user_id: str) -> set[str]:
    """What the person reads."""
    metadata = (("authorization", f"Bearer {rig.token(user=user_id)}"),)
    request = ListNotificationsRequest(user_id=user_id, limit=100)
    answer = await InboxServiceStub(service.channel).ListNotifications(request, metadata=metadata, timeout=10)
    return {one.data.title for one in answer.notifications}


# -- passwords of the servers


class Servers:
    """Users at NATS, MongoDB and Valkey, made and taken away while they run."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._file: Path = rig.stack.layout.run / "nats.conf"
        self._before = self._file.read_text()
        self._nats: dict[str, str] = {}

    async def add(self, name: str) -> dict[str, str]:
        """A second user with the same rights, and what a process is told to be it. Valkey takes two passwords of one
        user, and needs no second."""
        self._nats[name] = f"password-{name}"
        await self._reload()
        await self._rig.mongo.admin.command("createUser", name, pwd=f"password-{name}", roles=["root"])
        await self._acl("on", f">password-{name}", "~*", "&*", "+@all")
        ports = self._rig.stack.settings.ports
        at = self._rig.environment["DATABASE_URL"].partition("@")[2]
        return {
            "NATS_USER": name,
            "NATS_PASSWORD": f"password-{name}",
            "DATABASE_URL": f"mongodb://{name}:password-{name}@{at}",
            "REDIS_HOST": f"redis://heron:password-{name}@127.0.0.1:{ports.valkey}/0",
        }

    async def remove(self, name: str) -> None:
        """Takes it away."""
        del self._nats[name]
        await self._reload()
        await self._rig.mongo.admin.command("dropUser", name)
        await self._acl(f"<password-{name}")

    async def restore(self) -> None:
        """As it was before."""
        for name in list(self._nats):
            await self.remove(name)
        self._file.write_text(self._before)
        kill(self._rig.stack.pid("nats"), signal.SIGHUP)
        await self._rig.redis.acl_deluser("heron")

    async def _acl(self, *rules: str) -> None:
        await cast(Any, self._rig.redis).execute_command("ACL", "SETUSER", "heron", *rules)

    async def _reload(self) -> None:
        rows = "".join(f'{{user: "{name}", password: "{word}"}}\n' for name, word in self._nats.items())
        self._file.write_text(self._before.replace("users: [\n", f"users: [\n{rows}", 1))
        kill(self._rig.stack.pid("nats"), signal.SIGHUP)
        # It says nothing when it has read it.
        await asyncio.sleep(0.5)


@pytest.fixture
async def servers_users(rig: Rig) -> AsyncIterator[Servers]:
    made = Servers(rig)
    yield made
    await made.restore()


@pytest.mark.usefixtures("local")
async def test_passwords_of_nats_mongodb_and_valkey(rig: Rig, local: Local, servers_users: Servers) -> None:
    user_id = local.somebody()
    async with AsyncExitStack() as running:
        old = await servers_users.add(OLD)
        first = [await running.enter_async_context(rig.running(role, **old)) for role in ("api", "dispatch")]
        await send(rig, first[0], user_id, "before")
        new = await servers_users.add(NEW)
        second = [await running.enter_async_context(rig.running(role, **new)) for role in ("api", "dispatch")]
        for service in (first[0], second[0]):
            await send(rig, service, user_id, f"both {service.port}")
        for service in first:
            await service.stop()
        await servers_users.remove(OLD)
        await send(rig, second[0], user_id, "after")
        await until(lambda: titles(rig, second[0], user_id), lambda found: len(found) == 4)
        assert await second[0].metric("crown_bus_connected") == 1
    # And the old ones are good for nothing any more.
    async with rig.started(["-m", "services.ingest", "api"], "api", **old) as late:
        assert await late.ended() == 1, late.log()


# -- the data key


@pytest.mark.usefixtures("local")
async def test_the_data_key(rig: Rig, local: Local) -> None:
    """Each role by itself, so that each step meets the one before and the one behind."""
    new = base64.b64encode(Key.fresh().raw).decode()
    steps = [{}, {"CROWN_SEAL_KEYS": f"data,{new}"}, {"CROWN_SEAL_KEYS": new}]
    user_id, late = local.somebody(), local.somebody()
    said: set[str] = set()
    for api_step, dispatch_step in [(0, 1), (2, 1), (2, 2)]:
        async with (
            rig.running("api", **steps[api_step]) as api,
            rig.running("dispatch", **steps[dispatch_step]),
        ):
            await send(rig, api, user_id, f"{api_step} {dispatch_step}")
            # What was sent before is read as well.
            said.add(f"{api_step} {dispatch_step}")
            await until(partial(titles, rig, api, user_id), said.__eq__)
            if dispatch_step == 2:
                await send(rig, api, late, "new")
                await until(partial(titles, rig, api, late))
    # Without the new key, what it sealed is closed: that of a person who was first heard of in the end.
    async with rig.running("api") as api:
        with pytest.raises(AioRpcError):
            await titles(rig, api, late)


# -- a provider's key


@dataclass
class Provider:
    """SendGrid, as far as its keys go."""

    keys: set[str]
    taken: list[str] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """A mail."""
        key = request.headers["Authorization"].removeprefix("Bearer ")
        if key not in self.keys:
            return web.json_response({"errors": [{"message": "revoked"}]}, status=401)
        self.taken.append(key)
        return web.Response(status=202, headers={"X-Message-Id": f"m{len(self.taken)}"})


@asynccontextmanager
async def mailing(local: Local, url: str, key: str) -> AsyncIterator[None]:
    """A worker with this key."""
    letterhead = Letterhead("Crown", "crown@crown.example", Links("https://crown.example", ()))
    sendgrid = SendGrid(Http(timeout_s=5), url, key, Composer(letterhead))
    route = Route([sendgrid], channel="email", most=16)
    desk = PersonDesk(Channel.EMAIL, local.db, local.data_key)
    worker = Engine(Channel.EMAIL, route, desk, local.bus, local.store, Ledger(local.db), 16)
    async with local.working(worker.run):
        yield
    await sendgrid.close()


@pytest.mark.usefixtures("quick")
async def test_the_key_of_a_provider(local: Local) -> None:
    provider = Provider({OLD})
    application = web.Application()
    application.router.add_post("/v3/mail/send", provider.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = web.SockSite(runner, listener)
        await site.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def mail() -> str:
            address = {"email": "ann@heron.example"}
            return await local.send(type="EMAIL", user_id=local.somebody(), address=address)

        async with local.dispatching():
            async with mailing(local, url, OLD):
                await local.becomes(await mail(), "email", "DELIVERED_TO_PROVIDER")
                provider.keys.add(NEW)
                async with mailing(local, url, NEW):
                    both = [await mail() for _ in range(6)]
                    for sent in both:
                        await local.becomes(sent, "email", "DELIVERED_TO_PROVIDER")
            # In the wrong order: the old one is withdrawn while it is in use. What it was to send waits.
            provider.keys.discard(OLD)
            async with mailing(local, url, OLD):
                early = await mail()
                assert await local.becomes(early, "email", "RETRYING") == "401"
            async with mailing(local, url, NEW):
                await local.becomes(early, "email", "DELIVERED_TO_PROVIDER", within_s=30)
        await runner.cleanup()
    assert len(provider.taken) == 8
    assert provider.taken[-1] == NEW


# -- what webhooks are signed with


@pytest.mark.usefixtures("quick")
async def test_the_secret_of_webhooks(local: Local) -> None:
    """While two sign, who knows either takes the call."""
    old, new = (WebhookSecrets({}, Key.fresh()).of("feed")[0] for _ in range(2))
    steps = [((old,), old), ((new, old), old), ((new, old), new), ((new,), new)]
    async with local.dispatching(), local.working(Recorder(local.bus, local.store).run):
        for signing, known in steps:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                async with receiving(listener, known) as receiver:
                    hosts = WebhookHosts.parse(receiver.hosts)
                    route = webhook_engine.route(hosts, WebhookSecrets({"feed": signing}, local.data_key))
                    worker = webhook_engine.engine(local.bus, local.store, hosts, route)
                    async with local.working(worker.run):
                        sent = await local.send(type="IN_APP", webhook_url=receiver.url)

                        await until(partial(asyncio.to_thread, receiver.about, sent))
                        assert len(receiver.about(sent)) == 1
                    await route.close()
