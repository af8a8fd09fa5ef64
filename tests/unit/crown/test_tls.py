"""TLS between the parts: who is let in, with what, and that a renewed certificate needs no restart."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crown import metrics, rpc, tls
from crown.notification.v1 import inbox_service_pb2
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from crown.settings import Settings, SettingsError
from tests import ports
from tests.papers import Authority

SERVING = health_pb2.HealthCheckResponse.SERVING
INBOX = inbox_service_pb2.DESCRIPTOR.services_by_name["InboxService"]
LISTED = inbox_service_pb2.ListNotificationsRequest(user_id="ann")
UNAUTHENTICATED, REFUSED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
UNREACHED = grpc.StatusCode.UNAVAILABLE


class Inbox:
    """A servicer that no call gets to: none has a token."""

    def __getattr__(self, name: str) -> None:
        if name not in INBOX.methods_by_name:
            raise AttributeError(name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "GOING_S", 0.0)
    monkeypatch.setattr(tls, "LOOK_S", 0.0)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def port() -> int:
    return ports.free()


def settings(folder: Path, port: int, **more: str | int) -> Settings:
    return Settings.model_validate(
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
            "CROWN_TLS_FOLDER": str(folder),
            **more,
        }
    )


@asynccontextmanager
async def served(folder: Path, port: int, **more: str | int) -> AsyncIterator[None]:
    async def healthy() -> bool:
        return True

    server = rpc.Server(settings(folder, port, **more), None)
    server.add(INBOX, Inbox())
    async with server.serving(healthy):
        yield


async def asked(port: int, folder: Path | None, name: str = "email") -> grpc.StatusCode:
    """What a call of the caller with the papers in `folder` ends with, who wants to speak with `name`."""
    async with links(port, folder, name) as channel:
        try:
            await InboxServiceStub(channel).ListNotifications(LISTED, timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def told(port: int, folder: Path | None) -> int:
    """What health answers; -1 where nothing does."""
    async with links(port, folder, "email") as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="alive"), timeout=5
            )
        except grpc.aio.AioRpcError:
            return -1
    return int(answer.status)


@asynccontextmanager
async def links(port: int, folder: Path | None, name: str) -> AsyncIterator[grpc.aio.Channel]:
    link = tls.Link(f"127.0.0.1:{port}", tls.Identity(folder) if folder else None, name)
    try:
        yield link.channel()
    finally:
        await link.close()


async def test_a_caller_who_is_named_is_let_in(tmp_path: Path, port: int, authority: Authority) -> None:
    email = authority.folder(tmp_path / "email", "email")
    async with served(email, port):
        # As far as the door, which then wants a token.
        assert await asked(port, authority.folder(tmp_path / "gateway", "gateway")) is UNAUTHENTICATED
    async with served(email, port, CROWN_TLS_CALLERS="push, sms"):
        assert await asked(port, authority.folder(tmp_path / "sms", "sms")) is UNAUTHENTICATED
        assert await asked(port, tmp_path / "gateway") is REFUSED


async def test_others_are_not(tmp_path: Path, port: int, authority: Authority) -> None:
    email = authority.folder(tmp_path / "email", "email")
    async with served(email, port):
        # In the clear, of another authority, one that has ended, and one that has no part in this.
        assert await asked(port, None) is UNREACHED
        stranger = Authority().folder(tmp_path / "stranger", "gateway")
        (stranger / tls.AUTHORITY).write_bytes((email / tls.AUTHORITY).read_bytes())
        assert await asked(port, stranger) is UNREACHED
        ended = authority.folder(tmp_path / "ended", "gateway", timedelta(hours=-1))
        assert await asked(port, ended) is UNREACHED
        assert await asked(port, authority.folder(tmp_path / "push", "push")) is REFUSED
        # Nor is a server spoken with that is another than it should be.
        gateway = authority.folder(tmp_path / "gateway", "gateway")
        assert await asked(port, gateway, "push") is UNREACHED


async def answer(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except (ssl.SSLError, ConnectionError):
        return b""


async def test_a_caller_without_a_certificate_is_not(tmp_path: Path, port: int, authority: Authority) -> None:
    email = authority.folder(tmp_path / "email", "email")
    async with served(email, port):
        context = ssl.create_default_context(cafile=email / tls.AUTHORITY)
        context.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="email"
        )
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        # With TLS 1.3 the client hears of it when it reads: an alert, or the end.
        async with asyncio.timeout(5):
            assert await answer(reader) == b""
        writer.close()


async def test_health_is_told_to_all_of_the_suite(tmp_path: Path, port: int, authority: Authority) -> None:
    async with served(authority.folder(tmp_path / "email", "email"), port):
        assert await told(port, authority.folder(tmp_path / "push", "push")) == SERVING
        assert await told(port, Authority().folder(tmp_path / "stranger", "gateway")) == -1
        assert await told(port, None) == -1


async def test_probes_have_a_port_that_tells_health_alone(
    tmp_path: Path, port: int, authority: Authority
) -> None:
    probed = ports.free()
    async with served(authority.folder(tmp_path / "email", "email"), port, CROWN_HEALTH_PORT=probed):
        assert await told(probed, None) == SERVING
        assert await asked(probed, None) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_renewed_certificate_is_shown_at_once(
    tmp_path: Path, port: int, authority: Authority
) -> None:
    email = authority.folder(tmp_path / "email", "email")
    gateway = authority.folder(tmp_path / "gateway", "gateway")
    async with served(email, port):
        assert await asked(port, gateway) is UNAUTHENTICATED
        # Under a new authority, too.
        another = Authority()
        another.folder(email, "email")
        assert await asked(port, another.folder(tmp_path / "new", "gateway")) is UNAUTHENTICATED
        assert await asked(port, gateway) is UNREACHED
        # What cannot be read leaves the last good one.
        (email / tls.KEY).write_text("no key")
        assert await asked(port, tmp_path / "new") is UNAUTHENTICATED


def test_when_the_certificate_ends_is_told_also_after_it_was_renewed(
    tmp_path: Path, authority: Authority
) -> None:
    def left_s() -> float:
        return float(metrics.CERTIFICATE_END._value.get()) - time.time()

    folder = authority.folder(tmp_path / "email", "email", timedelta(hours=1))
    identity = tls.Identity(folder)
    assert left_s() == pytest.approx(3_600, abs=60)
    authority.folder(folder, "email", timedelta(days=2))
    identity.papers()
    assert left_s() == pytest.approx(2 * 86_400, abs=60)


async def test_a_caller_shows_its_renewed_certificate(
    tmp_path: Path, port: int, authority: Authority
) -> None:
    email = authority.folder(tmp_path / "email", "email")
    gateway = Authority().folder(tmp_path / "gateway", "gateway")
    link = tls.Link(f"127.0.0.1:{port}", tls.Identity(gateway), "email")
    async with served(email, port):
        before = link.channel()
        assert link.channel() is before
        authority.folder(gateway, "gateway")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await InboxServiceStub(link.channel()).ListNotifications(LISTED, timeout=5)
        assert refused.value.code() is UNAUTHENTICATED
        assert link.channel() is not before
    await link.close()


async def test_a_stub_is_made_once_for_each_certificate(tmp_path: Path, authority: Authority) -> None:
    folder = authority.folder(tmp_path / "gateway", "gateway")
    present = 0.0
    link = tls.Link("127.0.0.1:1", tls.Identity(folder, lambda: present), "email")
    made: list[grpc.aio.Channel] = []

    def make(channel: grpc.aio.Channel) -> int:
        made.append(channel)
        return len(made)

    assert [link.stub(make), link.stub(make)] == [1, 1]
    authority.folder(folder, "gateway")
    present += tls.LOOK_S
    assert [link.stub(make), link.stub(make)] == [2, 2]
    assert made[1] is link.channel() is not made[0]
    await link.close()


@pytest.mark.parametrize("spoiled", [tls.CERTIFICATE, tls.KEY, tls.AUTHORITY])
@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n", None])
def test_papers_that_are_no_good_are_a_wrong_setting(
    tmp_path: Path, authority: Authority, spoiled: str, text: str | None
) -> None:
    folder = authority.folder(tmp_path, "email")
    if text is None:
        (folder / spoiled).unlink()
    else:
        (folder / spoiled).write_text(text)
    with pytest.raises(SettingsError, match=r"^CROWN_TLS_FOLDER: "):
        rpc.HealthServer(settings(folder, 1))


def test_a_key_of_another_certificate_is_a_wrong_setting(tmp_path: Path, authority: Authority) -> None:
    folder = authority.folder(tmp_path / "email", "email")
    other = authority.folder(tmp_path / "other", "email")
    (folder / tls.KEY).write_bytes((other / tls.KEY).read_bytes())
    with pytest.raises(SettingsError, match=r"tls.key is not the key of tls.crt"):
        rpc.HealthServer(settings(folder, 1))
