"""The providers' stand-ins in this process, attempts to send to them, and servicers behind a real server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor

from crown.auth import Principal
from crown.door import Door
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from crown.provider import Attempt
from crown.recipients import Destination
from crown.rendering import Links
from stack import keys
from stack.mailbox import server as mailbox_server
from stack.mailbox.settings import Settings as MailboxSettings
from stack.sandbox.server import build, start
from stack.sandbox.settings import Settings as SandboxSettings
from stack.tokens import SCOPES
from tests import ports

SENDGRID_KEY = "SG.test.key"
TWILIO_KEY = f"AC{'0' * 32}:twilio-token"
SNS_KEY = "AKIAIOSFODNN7EXAMPLE:sns-secret"
CREATED = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Standin:
    """A running sandbox or mailbox: its controls, and what a service is told to reach it."""

    url: str
    http: aiohttp.ClientSession
    account: dict[str, Any]
    smtp_port: int = 0
    sns_key: str = ""

    async def script(self, **order: Any) -> None:
        """Queues one behaviour."""
        async with self.http.post(f"{self.url}/script", json=order) as answer:
            assert answer.status == 200, await answer.text()

    async def subscription(self) -> dict[str, Any]:
        """A browser's."""
        async with self.http.post(f"{self.url}/web-push/subscriptions") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def effects(self) -> list[dict[str, Any]]:
        """What reached people."""
        async with self.http.get(f"{self.url}/ledger") as answer:
            found: list[dict[str, Any]] = (await answer.json())["effects"]
            return found

    async def calls(self) -> list[dict[str, Any]]:
        """Every call that would have an effect, those refused among them."""
        async with self.http.get(f"{self.url}/ledger", params={"kind": "all"}) as answer:
            found: list[dict[str, Any]] = (await answer.json())["entries"]
            return found

    async def mails(self) -> list[dict[str, Any]]:
        """What lies in the mailbox."""
        async with self.http.get(f"{self.url}/messages") as answer:
            found: list[dict[str, Any]] = (await answer.json())["messages"]
            return found


@pytest.fixture(scope="session")
def service_account() -> dict[str, Any]:
    """A Firebase service account; making its key takes a while."""
    account: dict[str, Any] = json.loads(keys.new_service_account("http://127.0.0.1:1/token"))
    return account


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    return ports.free()


@pytest.fixture
async def sandbox(service_account: dict[str, Any], free_port: int, tmp_path: Path) -> AsyncIterator[Standin]:
    """SendGrid, Twilio, SNS, FCM, Google's token endpoint and a browsers' push service."""
    url = f"http://127.0.0.1:{free_port}"
    account = {**service_account, "token_uri": f"{url}/token"}
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account))
    settings = SandboxSettings.model_validate(
        {
            "sendgrid_key": SENDGRID_KEY,
            "twilio_key": TWILIO_KEY,
            "sns_key": SNS_KEY,
            "service_account": file,
        }
    )
    runner, _ = await start(build(settings), "127.0.0.1", free_port)
    async with aiohttp.ClientSession() as http:
        yield Standin(url, http, account, sns_key=SNS_KEY)
    await runner.cleanup()


@pytest.fixture
async def mailbox() -> AsyncIterator[Standin]:
    """An SMTP server that keeps what it gets."""
    async with _opened_mailbox() as standin:
        yield standin


@pytest.fixture
def opened_mailbox() -> Callable[..., Any]:
    """Opens a mailbox with the settings that are given."""
    return _opened_mailbox


@asynccontextmanager
async def _opened_mailbox(**settings: Any) -> AsyncIterator[Standin]:
    """A mailbox with these settings."""
    running = await mailbox_server.start(
        MailboxSettings.model_validate({"smtp_port": 0, "http_port": 0, **settings})
    )
    async with aiohttp.ClientSession() as http:
        yield Standin(f"http://127.0.0.1:{running.http_port}", http, {}, running.smtp_port)
    await running.stop()


@pytest.fixture
def mailbox_with_login() -> Callable[[str, str], Any]:
    """Opens a mailbox that wants user and password."""
    return lambda user, password: _opened_mailbox(user=user, password=password)


@pytest.fixture
def links() -> Links:
    """Links of an app at https://crown.example."""
    return Links("https://crown.example", ("crown.example",))


@pytest.fixture
def attempt() -> Callable[..., Attempt]:
    """Makes attempts; names of Attempt and of NotificationData override what stands here."""

    def make(*addresses: str | Destination, **given: Any) -> Attempt:
        texts = {"title": "New message", "message": "You have a new message from John", "action_url": "/m/1"}
        data = {
            name: given.pop(name)
            for name in list(given)
            if name in NotificationData.DESCRIPTOR.fields_by_name
        }
        places = [
            a if isinstance(a, Destination) else Destination(f"at{n}", a) for n, a in enumerate(addresses)
        ]
        usual = {
            "delivery_id": "d" * 32,
            "notification_id": "n-1",
            "user_id": "user1",
            "number": 1,
            "kind": "message",
            "category": Category.SOCIAL,
            "create_time": CREATED,
            "expire_time": None,
        }
        return Attempt(
            **{**usual, **given}, data=NotificationData(**{**texts, **data}), destinations=tuple(places)
        )

    return make


class _AnyoneIsAService:
    async def principal(self, token: str) -> Principal:
        scopes = frozenset(SCOPES)
        if token.startswith("user:"):
            return Principal("user", token.removeprefix("user:"), frozenset(), time.time() + 60)
        return Principal("service", token, scopes, time.time() + 60)


@pytest.fixture
def serve() -> Callable[..., Any]:
    """Serves a servicer behind the door; the bearer token names the calling service, or is `user:<id>`."""

    @asynccontextmanager
    async def serving(service: ServiceDescriptor, servicer: object) -> AsyncIterator[grpc.aio.Channel]:
        server = grpc.aio.server()
        door = Door(_AnyoneIsAService())  # type: ignore[arg-type]
        checks = servicer.checks() if hasattr(servicer, "checks") else {}
        server.add_generic_rpc_handlers((door.handlers(service, servicer, checks),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
        await server.stop(None)

    return serving


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What every service must be told, and nothing else in the environment that it reads."""
    wanted = {
        "NATS_URL": "nats://127.0.0.1:4222",
        "DATABASE_URL": "mongodb://127.0.0.1:27017/crown",
        "REDIS_HOST": "127.0.0.1",
        "CROWN_JWKS": "/nowhere",
        "CROWN_JWT_ISSUER": "test",
        "CROWN_DATA_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    }
    for name in list(os.environ):
        if name.startswith(("CROWN_", "SMTP_", "SMS_", "PUSH_", "TWILIO_", "NATS_", "DATABASE_", "REDIS_")):
            monkeypatch.delenv(name)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    return wanted
