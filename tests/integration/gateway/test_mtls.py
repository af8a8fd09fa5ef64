"""TLS between the gateway and a service, and at the gateway's own port: who is spoken with, and that neither needs a
restart for a renewed certificate."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from crown import rpc, tls
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from crown.settings import Settings
from gateway.render import files
from stack.secrets import Secrets
from tests import ports
from tests.integration.gateway.conftest import AUDIENCE, ISSUER, envoy
from tests.papers import Authority

PATH = "/api/v1/users/ann/notifications"
INBOX = pb.DESCRIPTOR.services_by_name["InboxService"]
KEY = ec.generate_private_key(ec.SECP256R1())
# Answers where nothing is wrong, where the gateway did not get through, and where the service would not have it.
GOOD, AWAY, CUT_OFF, REFUSED = 200, 503, 504, 403


class Inbox:
    """A real service, and an inbox with nothing in it."""

    async def ListNotifications(self, _request: object, _context: object) -> pb.ListNotificationsResponse:
        return pb.ListNotificationsResponse()

    def __getattr__(self, name: str) -> None:
        if name not in INBOX.methods_by_name:
            raise AttributeError(name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "GOING_S", 0.0)
    monkeypatch.setattr(tls, "LOOK_S", 0.0)


@pytest.fixture
def port() -> int:
    """Of the service."""
    return ports.free()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """What tokens are checked against."""
    public = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public | {"kid": "k1", "alg": "ES256"}]}))
    return path


@asynccontextmanager
async def service(folder: Path | None, port: int, keys: Path) -> AsyncIterator[None]:
    """The inbox, as ingest-api serves it, with the papers in `folder`, or in the clear."""

    async def healthy() -> bool:
        return True

    told = {
        "CROWN_BIND": "127.0.0.1",
        "CROWN_GRPC_PORT": port,
        "CROWN_GRACE_S": 0,
        "NATS_URL": "nats://nowhere",
        "DATABASE_URL": "mongodb://nowhere",
        "REDIS_HOST": "nowhere",
        "CROWN_JWKS": str(keys),
        "CROWN_JWT_ISSUER": ISSUER,
        "CROWN_DATA_KEY": base64.b64encode(bytes(range(32))).decode(),
        "CROWN_TLS_FOLDER": str(folder or ""),
    }
    server = rpc.Server(Settings.model_validate(told), None)
    server.add(INBOX, Inbox())
    await server.authenticator.warm()
    async with server.serving(healthy):
        yield


@asynccontextmanager
async def gateway(home: Path, ingest: int, keys: Path, **more: Path) -> AsyncIterator[int]:
    """The port of a gateway in front of it, with folders of papers."""
    told = {
        "GATEWAY_BIND": "127.0.0.1",
        "NOTIFICATION_SERVICE_PORT": "0",
        "ENVOY_ADMIN_PORT": "0",
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWKS_PATH": str(keys),
        "INGEST_ADDRESS": f"127.0.0.1:{ingest}",
        **{name: str(path) for name, path in more.items()},
    }
    for name, text in files(told, home).items():
        (home / name).write_text(text)
    async with aiohttp.ClientSession() as http, envoy(home, http) as port:
        yield port


def token() -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "use": "user", "iat": now, "exp": now + 600}
    return jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "k1"})


async def asked(port: int, path: str = PATH, shown: ssl.SSLContext | None = None) -> int:
    """What the gateway answers."""
    url = f"{'https' if shown else 'http'}://127.0.0.1:{port}{path}"
    async with (
        aiohttp.ClientSession() as http,
        http.get(
            url,
            headers={"Authorization": f"Bearer {token()}"},
            ssl=shown or True,
            server_hostname="gateway" if shown else None,
        ) as found,
    ):
        return found.status


async def becomes(port: int, status: int) -> None:
    """Waits until that is what it answers."""
    async with asyncio.timeout(20):
        while (found := await asked(port)) != status:
            assert found in {GOOD, AWAY, REFUSED}
            await asyncio.sleep(0.1)


async def test_the_gateway_and_a_service_know_each_other(tmp_path: Path, port: int, keys: Path) -> None:
    suite = Authority()
    own = suite.folder(tmp_path / "gateway", "gateway")
    ingest = suite.folder(tmp_path / "ingest", "ingest-api")
    async with gateway(tmp_path, port, keys, CROWN_TLS_FOLDER=own) as front:
        async with service(ingest, port, keys):
            await becomes(front, GOOD)
        # Not with one that speaks in the clear, is another, is of another authority, or whose time is over.
        for folder in (
            None,
            suite.folder(tmp_path / "push", "push"),
            Authority().folder(tmp_path / "stranger", "ingest-api"),
            suite.folder(tmp_path / "ended", "ingest-api", timedelta(hours=-1)),
        ):
            async with service(folder, port, keys):
                assert await asked(front) == AWAY, folder
        async with service(ingest, port, keys):
            await becomes(front, GOOD)


async def test_a_service_knows_its_gateway(tmp_path: Path, port: int, keys: Path) -> None:
    suite = Authority()
    ingest = suite.folder(tmp_path / "ingest", "ingest-api")
    folder = suite.folder(tmp_path / "gateway", "push")
    async with service(ingest, port, keys):
        async with gateway(tmp_path, port, keys, CROWN_TLS_FOLDER=folder) as front:
            assert await asked(front) == REFUSED
        # One that speaks in the clear is cut off.
        async with gateway(tmp_path, port, keys) as front:
            assert await asked(front) in {AWAY, CUT_OFF}


async def test_both_take_renewed_certificates_without_a_restart(
    tmp_path: Path, port: int, keys: Path
) -> None:
    secrets = Secrets(tmp_path / "secrets")
    secrets.folder.mkdir()
    own, ingest = secrets.tls("gateway"), secrets.tls("ingest-api")
    async with gateway(tmp_path, port, keys, CROWN_TLS_FOLDER=own) as front:
        async with service(ingest, port, keys):
            await becomes(front, GOOD)
            before = (own / tls.CERTIFICATE).read_text(), (own / tls.AUTHORITY).read_text()
            (secrets.folder / "tls-authority.pem").unlink()
            secrets.renew()
            assert before[0] != (own / tls.CERTIFICATE).read_text()
            assert before[1] != (own / tls.AUTHORITY).read_text()
            # Whoever is connected goes on.
            assert await asked(front) == GOOD
        # Connections are new: under an authority that neither knew when it began, but for the service's own.
        async with service(ingest, port, keys):
            await becomes(front, GOOD)


async def test_a_service_that_runs_on_takes_its_gateways_new_authority(
    tmp_path: Path, port: int, keys: Path
) -> None:
    secrets = Secrets(tmp_path / "secrets")
    secrets.folder.mkdir()
    ingest = secrets.tls("ingest-api")
    own = secrets.tls("gateway")
    async with service(ingest, port, keys):
        async with gateway(tmp_path, port, keys, CROWN_TLS_FOLDER=own) as front:
            await becomes(front, GOOD)
        (secrets.folder / "tls-authority.pem").unlink()
        secrets.renew()
        async with gateway(tmp_path, port, keys, CROWN_TLS_FOLDER=own) as front:
            await becomes(front, GOOD)


def client(authority: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """What a client speaks that speaks this version alone."""
    context = ssl.create_default_context(cafile=authority / tls.AUTHORITY)
    with warnings.catch_warnings():
        # Python will not have what is old.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def test_clients_are_served_by_tls_where_there_is_a_certificate(
    tmp_path: Path, port: int, keys: Path
) -> None:
    edge = Authority().folder(tmp_path / "edge", "gateway")
    async with (
        service(None, port, keys),
        gateway(tmp_path, port, keys, GATEWAY_TLS_FOLDER=edge) as front,
    ):
        assert await asked(front, shown=client(edge)) == GOOD
        assert await asked(front, shown=client(edge, ssl.TLSVersion.TLSv1_2)) == GOOD
        with pytest.raises(aiohttp.ClientConnectorError):
            await asked(front, shown=client(edge, ssl.TLSVersion.TLSv1_1))
        with pytest.raises(aiohttp.ClientError):
            await asked(front)
        # By gRPC, too.
        credentials = grpc.ssl_channel_credentials((edge / tls.AUTHORITY).read_bytes())
        options = [("grpc.ssl_target_name_override", "gateway")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{front}", credentials, options=options) as channel:
            await InboxServiceStub(channel).ListNotifications(
                pb.ListNotificationsRequest(user_id="ann"),
                metadata=(("authorization", f"Bearer {token()}"),),
                timeout=10,
            )


@pytest.mark.parametrize("path", ["/healthz", "/nothing", PATH])
async def test_browsers_are_told_to_stay_with_tls_by_who_speaks_it(
    tmp_path: Path, port: int, keys: Path, path: str
) -> None:
    edge = Authority().folder(tmp_path / "edge", "gateway")
    async with aiohttp.ClientSession() as http:
        # Also with answers that are the gateway's own: nobody has a token, and no service is there.
        async with (
            gateway(tmp_path, port, keys, GATEWAY_TLS_FOLDER=edge) as front,
            http.get(
                f"https://127.0.0.1:{front}{path}", ssl=client(edge), server_hostname="gateway"
            ) as answer,
        ):
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        async with (
            gateway(tmp_path, port, keys) as front,
            http.get(f"http://127.0.0.1:{front}{path}") as answer,
        ):
            assert "Strict-Transport-Security" not in answer.headers


async def test_clients_are_shown_a_renewed_certificate_without_a_restart(
    tmp_path: Path, port: int, keys: Path
) -> None:
    secrets = Secrets(tmp_path / "secrets")
    secrets.folder.mkdir()
    edge = secrets.tls("gateway")
    async with gateway(tmp_path, port, keys, GATEWAY_TLS_FOLDER=edge) as front:
        assert await asked(front, "/healthz", client(edge)) == GOOD
        (secrets.folder / "tls-authority.pem").unlink()
        secrets.renew()
        async with asyncio.timeout(20):
            while True:
                try:
                    # Under the new authority alone.
                    assert await asked(front, "/healthz", client(edge)) == GOOD
                    break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.1)
