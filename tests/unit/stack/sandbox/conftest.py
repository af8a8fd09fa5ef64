"""A sandbox in this process, on a port of its own, and the credentials that it accepts."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from stack.sandbox import oauth
from stack.sandbox.server import build, start
from stack.sandbox.settings import Settings
from stack.secrets import Secrets
from tests.e2e.waiting import until

_SENDGRID_KEY = "SG.test.key"
_TWILIO_SID = "AC" + "0" * 32
_TWILIO_TOKEN = "twilio-token"
_SNS_KEY = "AKIATESTTESTTESTTEST:sns-secret"
_PROJECT = "test-project"


@dataclass(frozen=True)
class Sandbox:
    """Talks to one running sandbox."""

    url: str
    http: aiohttp.ClientSession
    account: dict[str, str]
    settings: Settings
    sendgrid_key: str = _SENDGRID_KEY
    twilio_sid: str = _TWILIO_SID
    twilio_token: str = _TWILIO_TOKEN
    sns_key: str = _SNS_KEY
    project: str = _PROJECT

    @property
    def ledger_file(self) -> Path:
        assert self.settings.ledger is not None
        return self.settings.ledger

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and decoded body; the text where that is not JSON, None where it is empty."""
        async with self.http.request(method, self.url + path, **options) as response:
            text = await response.text()
            try:
                return response.status, json.loads(text) if text else None
            except ValueError:
                return response.status, text

    async def entries(self, **query: str) -> list[dict[str, Any]]:
        _, body = await self.call("GET", "/ledger", params=query)
        lists: list[list[dict[str, Any]]] = [value for value in body.values() if isinstance(value, list)]
        assert body["total"] >= len(lists[0])
        return lists[0]

    async def script(self, **order: Any) -> None:
        status, body = await self.call("POST", "/script", json=order)
        assert status == 200, body

    async def mail(self, body: Any, key: str = _SENDGRID_KEY) -> tuple[int, Any]:
        return await self.call("POST", "/v3/mail/send", json=body, headers={"Authorization": f"Bearer {key}"})

    async def sms(self, sid: str = _TWILIO_SID, token: str = _TWILIO_TOKEN, **form: str) -> tuple[int, Any]:
        auth = aiohttp.encode_basic_auth(sid, token)
        path = f"/2010-04-01/Accounts/{_TWILIO_SID}/Messages.json"
        return await self.call("POST", path, data=form, headers={"Authorization": auth})

    async def token(self, **changes: Any) -> tuple[int, Any]:
        form = {"grant_type": oauth.GRANT, "assertion": self.assertion(**changes)}
        return await self.call("POST", "/token", data=form)

    async def push(self, message: Any, token: str | None = None, **rest: Any) -> tuple[int, Any]:
        bearer = token if token is not None else (await self.token())[1]["access_token"]
        headers = {"Authorization": f"Bearer {bearer}"}
        body = {"message": message, **rest}
        return await self.call("POST", f"/v1/projects/{_PROJECT}/messages:send", json=body, headers=headers)

    def assertion(self, key: str | None = None, kid: str | None = None, **claims: Any) -> str:
        issued = int(claims.get("iat", time.time()))
        stated = {
            "iss": self.account["client_email"],
            "aud": oauth.GOOGLE_AUDIENCE,
            "scope": "https://www.googleapis.com/auth/firebase.messaging",
            "iat": issued,
            "exp": issued + 3600,
            **claims,
        }
        headers = {"kid": self.account["private_key_id"] if kid is None else kid}
        return jwt.encode(stated, key or self.account["private_key"], algorithm="RS256", headers=headers)


def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="session")
def account() -> dict[str, str]:
    """A service account as Firebase hands it out."""
    return {
        "type": "service_account",
        "project_id": _PROJECT,
        "private_key_id": "f00d" * 10,
        "private_key": private_key(),
        "client_email": f"push@{_PROJECT}.example",
        "token_uri": "http://127.0.0.1/token",
    }


@dataclass
class Gateway:
    """Stands where the gateway is: keeps what is posted to it, and answers with `statuses`, then with 200."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    reply: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.posts.append(Post(str(request.url), request.headers, await request.read()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, text=self.reply, content_type="text/xml")

    async def got(self, count: int) -> list[Post]:
        """The first `count` posts, once they are there."""
        return (await until(self._posts, lambda posts: len(posts) >= count))[:count]

    async def _posts(self) -> list[Post]:
        return list(self.posts)


@dataclass(frozen=True)
class Post:
    """One call of the gateway."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@pytest.fixture(scope="session")
async def listening() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    app = web.Application()
    app.router.add_post("/{path:.*}", gateway.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield gateway
    await runner.cleanup()


@pytest.fixture
def gateway(listening: Gateway) -> Gateway:
    """The gateway of these tests, called by nobody yet."""
    listening.posts.clear()
    listening.statuses.clear()
    listening.reply = ""
    return listening


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    """The keys that callbacks are signed with, and their public halves."""
    return Secrets(tmp_path_factory.mktemp("secrets"))


@pytest.fixture(scope="session")
def settings(
    tmp_path_factory: pytest.TempPathFactory, account: dict[str, str], listening: Gateway, secrets: Secrets
) -> Settings:
    folder = tmp_path_factory.mktemp("sandbox")
    path = folder / "account.json"
    path.write_text(json.dumps(account))
    return Settings(
        port=0,
        ledger=folder / "ledger.jsonl",
        sendgrid_key=SecretStr(_SENDGRID_KEY),
        twilio_key=SecretStr(f"{_TWILIO_SID}:{_TWILIO_TOKEN}"),
        sns_key=SecretStr(_SNS_KEY),
        service_account=path,
        gateway_url=listening.url,
        sendgrid_webhook_key=secrets.sendgrid_webhook_key(),
        sns_signer=secrets.sns_signer(),
    )


@pytest.fixture(scope="session")
async def running(settings: Settings, account: dict[str, str]) -> AsyncIterator[Sandbox]:
    runner, port = await start(build(settings), settings.bind, settings.port)
    async with aiohttp.ClientSession() as http:
        yield Sandbox(f"http://127.0.0.1:{port}", http, account, settings)
    await runner.cleanup()


@pytest.fixture
async def sandbox(running: Sandbox) -> Sandbox:
    """The one sandbox of these tests, with nothing in it."""
    assert (await running.call("POST", "/reset"))[0] == 200
    return running


@pytest.fixture(scope="session")
def other_key() -> str:
    """A private key that Google has never heard of."""
    return private_key()
