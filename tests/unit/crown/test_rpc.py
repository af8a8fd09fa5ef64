"""The server that every service runs: health as the service sees it, reflection, and how it goes."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from crown import rpc
from crown.auth import Principal
from crown.bus import Bus
from crown.errors import StoreUnavailable
from crown.notification.v1 import inbox_service_pb2
from crown.revocations import Revocations
from crown.settings import ProcessSettings, Settings, SettingsError
from tests import ports
from tests.unit.crown.issuer import ISSUER, Issuer

INBOX = inbox_service_pb2.DESCRIPTOR.services_by_name["InboxService"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Health:
    """What the service thinks of itself; `error` is raised instead, `hangs` never answers."""

    ready: bool = True
    error: Exception | None = None
    hangs: bool = False
    asked: list[bool] = field(default_factory=list)

    async def __call__(self) -> bool:
        self.asked.append(self.ready)
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return self.ready


class Inbox:
    """A servicer that is never called."""

    async def ListNotifications(self, _request: object, _context: object) -> None:
        raise AssertionError

    GetUnreadCount = MarkRead = MarkAllRead = MarkUnread = MarkSeen = ListNotifications
    ArchiveNotifications = UnarchiveNotifications = DeleteNotifications = ListNotifications


class Revoked(Revocations):
    """Of what it is told here."""

    def __init__(self, *sessions: str) -> None:
        super().__init__(cast(Bus, None))
        self._sessions = sessions
        self.watched = asyncio.Event()
        self.started = False

    def refuses(self, principal: Principal) -> bool:
        return self.started and principal.session in self._sessions

    async def start(self) -> None:
        self.started = True

    async def watch(self) -> None:
        self.watched.set()
        await asyncio.Event().wait()


@asynccontextmanager
async def served(
    health: Health, port: int, *, revocations: Revocations | None = None, **given: str
) -> AsyncIterator[grpc.aio.Channel]:
    settings = Settings.model_validate(
        {
            "CROWN_BIND": "127.0.0.1",
            "CROWN_GRPC_PORT": port,
            "CROWN_GRACE_S": 0,
            "NATS_URL": "nats://nowhere",
            "DATABASE_URL": "mongodb://nowhere",
            "REDIS_HOST": "nowhere",
            "CROWN_JWKS": "/nowhere",
            "CROWN_JWT_ISSUER": "nobody",
            "CROWN_DATA_KEY": base64.b64encode(bytes(range(32))).decode(),
            **given,
        }
    )
    server = rpc.Server(settings, revocations)
    server.add(INBOX, Inbox())
    server.describe(["crown.notification.v1.SmsService"])
    async with server.serving(health):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    return ports.free()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "HEALTH_PERIOD_S", 0.05)
    monkeypatch.setattr(rpc, "GOING_S", 0.0)


async def becomes(channel: grpc.aio.Channel, state: int, service: str = "") -> None:
    """Waits until health says so."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service))
    async with asyncio.timeout(5):
        async for answer in watch:
            if answer.status == state:
                break
    watch.cancel()


@pytest.mark.parametrize("service", ["", INBOX.full_name])
async def test_health_is_what_the_service_says(port: int, service: str) -> None:
    health = Health()
    async with served(health, port) as channel:
        await becomes(channel, SERVING, service)
        health.ready = False
        await becomes(channel, NOT_SERVING, service)
        health.ready = True
        await becomes(channel, SERVING, service)


def _raise(health: Health) -> None:
    health.error = StoreUnavailable("away")


def _bug(health: Health) -> None:
    health.error = KeyError("a bug")


def _hang(health: Health) -> None:
    health.hangs = True


@pytest.mark.parametrize("spoil", [_raise, _bug, _hang], ids=["error", "bug", "hang"])
async def test_what_keeps_us_from_telling_is_a_no(port: int, spoil: Callable[[Health], None]) -> None:
    health = Health()
    async with served(health, port) as channel:
        await becomes(channel, SERVING)
        spoil(health)
        await becomes(channel, NOT_SERVING)
        health.error, health.hangs = None, False
        await becomes(channel, SERVING)


@pytest.mark.parametrize("service", ["", INBOX.full_name])
async def test_before_the_first_look_it_does_not_serve(port: int, service: str) -> None:
    async with served(Health(hangs=True), port) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        assert (await health_pb2_grpc.HealthStub(channel).Check(request)).status == NOT_SERVING


async def test_a_process_is_alive_whatever_is_away(port: int) -> None:
    request = health_pb2.HealthCheckRequest(service=rpc.ALIVE)
    health = Health()
    async with served(health, port) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        # From the first moment, and while it cannot do its work: a restart would not help.
        assert (await stub.Check(request)).status == SERVING
        await becomes(channel, SERVING)
        health.ready = False
        await becomes(channel, NOT_SERVING)
        assert (await stub.Check(request)).status == SERVING


async def test_reflection_lists_what_it_serves_and_what_it_speaks_for(port: int) -> None:
    async with served(Health(), port) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def asked() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        async for answer in stub.ServerReflectionInfo(asked()):
            names = {service.name for service in answer.list_services_response.service}
        assert names == {
            INBOX.full_name,
            "crown.notification.v1.SmsService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


async def test_reflection_finds_a_method_in_its_service(port: int) -> None:
    method = f"{INBOX.full_name}.{INBOX.methods[0].name}"
    async with served(Health(), port) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def asked() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            for symbol in (INBOX.full_name, method, f"{INBOX.full_name}.Nonsense", "Nonsense"):
                yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)

        answers = [answer async for answer in stub.ServerReflectionInfo(asked())]
    assert [answer.WhichOneof("message_response") for answer in answers] == [
        *["file_descriptor_response"] * 2,
        *["error_response"] * 2,
    ]
    assert answers[0].file_descriptor_response == answers[1].file_descriptor_response


async def test_going_is_told_before_the_door_closes(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "GOING_S", 0.3)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    async with served(Health(), port):
        await becomes(channel, SERVING)
    states = [answer.status async for answer in _while_open(watch)]
    assert states[-1] == NOT_SERVING
    await channel.close()


async def _while_open(watch: object) -> AsyncIterator[health_pb2.HealthCheckResponse]:
    try:
        async for answer in watch:  # type: ignore[attr-defined]
            yield answer
    except grpc.aio.AioRpcError:
        return


async def test_a_taken_port_is_a_wrong_setting(port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(SettingsError, match="CROWN_GRPC_PORT: cannot listen"):
            async with served(Health(), port):
                pass


async def reflected(channel: grpc.aio.Channel, token: str = "") -> int:
    """How many services reflection lists to who shows `token`."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    async def asked() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    found = [answer async for answer in stub.ServerReflectionInfo(asked(), metadata=metadata)]
    return sum(len(answer.list_services_response.service) for answer in found)


async def test_where_it_is_for_operators_reflection_answers_nobody_else(port: int, tmp_path: Path) -> None:
    issuer = Issuer()
    jwks = issuer.publish(tmp_path / "jwks.json")
    async with served(
        Health(), port, CROWN_JWKS=jwks, CROWN_JWT_ISSUER=ISSUER, CROWN_REFLECTION="operator"
    ) as channel:
        assert await reflected(channel, issuer.token(use="operator")) == 4
        for token, code in (
            ("", grpc.StatusCode.UNAUTHENTICATED),
            ("none", grpc.StatusCode.UNAUTHENTICATED),
            (issuer.token(use="operator", exp=1), grpc.StatusCode.UNAUTHENTICATED),
            (issuer.token(), grpc.StatusCode.PERMISSION_DENIED),
            (issuer.token(use="service", sub="feed"), grpc.StatusCode.PERMISSION_DENIED),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reflected(channel, token)
            assert caught.value.code() == code
        # Health is asked by who has no token.
        await becomes(channel, SERVING)


async def test_tokens_that_were_revoked_are_refused(port: int, tmp_path: Path) -> None:
    issuer, revoked = Issuer(), Revoked("phone")
    jwks = issuer.publish(tmp_path / "jwks.json")
    call = "/crown.notification.v1.InboxService/ListNotifications"
    async with served(
        Health(), port, revocations=revoked, CROWN_JWKS=jwks, CROWN_JWT_ISSUER=ISSUER
    ) as channel:
        asked: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call)
        for session, code in (
            ("phone", grpc.StatusCode.UNAUTHENTICATED),
            ("laptop", grpc.StatusCode.PERMISSION_DENIED),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asked(b"", metadata=(("authorization", f"Bearer {issuer.token(sid=session)}"),))
            assert caught.value.code() == code
        await asyncio.wait_for(revoked.watched.wait(), 5)


async def test_a_server_without_tokens_tells_nothing_where_reflection_is_for_operators(port: int) -> None:
    settings = ProcessSettings.model_validate(
        {
            "CROWN_BIND": "127.0.0.1",
            "CROWN_GRPC_PORT": port,
            "CROWN_GRACE_S": 0,
            "CROWN_REFLECTION": "operator",
        }
    )
    async with rpc.HealthServer(settings).serving(Health()):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reflected(channel, Issuer().token(use="operator"))
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
