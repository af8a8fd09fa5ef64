"""Sockets, polls and streams by TLS: the gateway's certificate opens all three, nobody else's does, and a renewed one
is shown while open sockets go on."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from crown import tls
from crown.notification.v1 import realtime_service_pb2 as pb
from crown.notification.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from stack.secrets import Secrets
from tests.integration.realtime.conftest import Nats, Node, Person, Trust, running
from tests.papers import Authority

RENEWED_WITHIN_S = 20.0


@dataclass
class Site:
    """A realtime process whose papers are renewed at will, and who comes to it."""

    node: Node
    secrets: Secrets
    http: aiohttp.ClientSession
    user: str
    token: str

    def shown(self, folder: Path | None) -> dict[str, Any]:
        """How a client connects with the papers in `folder`, or with none; it trusts the suite's authority."""
        context = ssl.create_default_context(cafile=self.secrets.tls("gateway") / tls.AUTHORITY)
        if folder is not None:
            context.load_cert_chain(folder / tls.CERTIFICATE, folder / tls.KEY)
        return {"ssl": context, "server_hostname": "realtime"}

    @property
    def socket(self) -> str:
        """Where sockets are opened."""
        return f"https://127.0.0.1:{self.node.websocket_port}/socket/websocket?vsn=2.0.0&token={self.token}"

    @property
    def poll(self) -> str:
        """Where sessions are."""
        return f"https://127.0.0.1:{self.node.longpoll_port}/socket/longpoll?vsn=2.0.0&token={self.token}"

    async def statuses(self, folder: Path | None) -> list[int]:
        """What a socket, a poll and a push begin with: 101 and 200 where all is well, 0 without an answer."""
        found = []
        for method, url, more in (
            ("GET", self.socket, _UPGRADE),
            ("GET", self.poll, {}),
            ("POST", f"{self.poll}-and-no-session", {}),
        ):
            try:
                answer = await self.http.request(method, url, headers=more, **self.shown(folder))
            except (aiohttp.ClientError, ssl.SSLError):
                found.append(0)
            else:
                found.append(answer.status)
                answer.close()
        return found


_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture
async def site(tmp_path: Path, nats: Nats, trust: Trust, user: str) -> AsyncIterator[Site]:
    secrets = Secrets(tmp_path)
    folder = secrets.tls("realtime")
    async with running(nats, trust, CROWN_TLS_FOLDER=str(folder)) as node:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            yield Site(node, secrets, http, user, trust.token(user))


async def test_the_gateway_is_let_in(site: Site) -> None:
    gateway = site.secrets.tls("gateway")
    assert await site.statuses(gateway) == [101, 200, 200]
    async with site.http.ws_connect(site.socket, **site.shown(gateway)) as connection:
        assert (await Person(connection).join(f"user:{site.user}"))["status"] == "ok"
    async with links(site, gateway) as channel:
        # As far as the door.
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await RealtimeServiceStub(channel).Subscribe(pb.SubscribeRequest(user_id=site.user)).read()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@asynccontextmanager
async def links(site: Site, folder: Path) -> AsyncIterator[grpc.aio.Channel]:
    link = tls.Link(f"127.0.0.1:{site.node.grpc_port}", tls.Identity(folder), "realtime")
    try:
        yield link.channel()
    finally:
        await link.close()


async def test_others_are_not(site: Site, tmp_path: Path) -> None:
    # Another part of the suite, one of another authority, one without a certificate, and one in the clear.
    assert await site.statuses(site.secrets.tls("email")) == [403, 403, 403]
    assert await site.statuses(Authority().folder(tmp_path / "stranger", "gateway")) == [0, 0, 0]
    assert await site.statuses(None) == [0, 0, 0]
    for url in (site.socket, site.poll):
        with pytest.raises(aiohttp.ClientError):
            await site.http.get(url.replace("https://", "http://"))


async def test_a_renewed_certificate_is_shown_while_sockets_go_on(site: Site) -> None:
    before = site.shown(site.secrets.tls("gateway"))
    async with site.http.ws_connect(site.socket, **before) as connection:
        person = Person(connection)
        # Everything is new, the authority too.
        (site.secrets.folder / "tls-authority.pem").unlink()
        site.secrets.renew()
        async with asyncio.timeout(RENEWED_WITHIN_S):
            while await site.statuses(site.secrets.tls("gateway")) != [101, 200, 200]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        with pytest.raises(aiohttp.ClientError):
            await site.http.get(site.poll, **before)
        assert (await person.join(f"user:{site.user}"))["status"] == "ok"


async def test_who_listens_anew_ends_as_it_should(site: Site) -> None:
    gateway = site.secrets.tls("gateway")
    (site.secrets.folder / "tls-authority.pem").unlink()
    site.secrets.renew()
    async with asyncio.timeout(RENEWED_WITHIN_S):
        while await site.statuses(gateway) != [101, 200, 200]:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    site.node.process.terminate()
    assert await asyncio.wait_for(site.node.process.wait(), 15) == 0
