"""TLS to the mail server: used where it is offered, demanded for a password, and never unverified."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from crown.outcome import Delivered, Retry
from crown.provider import Attempt
from crown.rendering import Links
from services.email.message import Composer, Letterhead
from services.email.smtp.pool import SmtpPool
from services.email.smtp.provider import Smtp
from services.email.smtp.server import SmtpServer
from tests.unit.services.certificate import made

Make = Callable[..., Attempt]


@dataclass
class Porter:
    """Keeps whether each mail came encrypted."""

    encrypted: list[bool] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, _session: Session, _envelope: Envelope) -> str:
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 OK"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that is good for the server."""
    return made(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def listening(porter: Porter, certificate: Path | None, implicit: bool = False) -> AsyncIterator[int]:
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    offered = None if implicit else context
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(porter, hostname="test", tls_context=offered, loop=loop),
        "127.0.0.1",
        0,
        ssl=context if implicit else None,
    )
    yield server.sockets[0].getsockname()[1]
    server.close()


async def outcome_of(server: SmtpServer, links: Links, attempt: Make) -> object:
    letterhead = Letterhead("Crown", "notifications@crown.example", links)
    client = Smtp(SmtpPool(server, "crown.example"), Composer(letterhead), timeout_s=3.0)
    found = await client.send(attempt("ann@example.org"))
    await client.close()
    return found


@pytest.mark.parametrize(
    "implicit", [False, True], ids=["STARTTLS where it is offered", "TLS from the start"]
)
async def test_encrypted(
    certificate: Path, links: Links, attempt: Make, monkeypatch: pytest.MonkeyPatch, implicit: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    porter = Porter()
    async with listening(porter, certificate, implicit) as port:
        found = await outcome_of(SmtpServer("127.0.0.1", port, tls=implicit), links, attempt)
    assert isinstance(found, Delivered)
    assert porter.encrypted == [True]


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS from the start"])
async def test_a_certificate_that_nobody_vouches_for(
    certificate: Path, links: Links, attempt: Make, implicit: bool
) -> None:
    porter = Porter()
    async with listening(porter, certificate, implicit) as port:
        found = await outcome_of(SmtpServer("127.0.0.1", port, tls=implicit), links, attempt)
    assert found == Retry("CONNECT_FAILED")
    assert porter.encrypted == []


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS from the start"])
@pytest.mark.parametrize(
    "given", [{"days": -1}, {"address": "127.0.0.2"}], ids=["expired", "of another server"]
)
async def test_a_certificate_that_is_not_good(
    tmp_path: Path,
    links: Links,
    attempt: Make,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    implicit: bool,
) -> None:
    file = made(tmp_path, **given)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    porter = Porter()
    async with listening(porter, file, implicit) as port:
        found = await outcome_of(SmtpServer("127.0.0.1", port, tls=implicit), links, attempt)
    assert found == Retry("CONNECT_FAILED")
    assert porter.encrypted == []


async def test_a_password_waits_for_tls(links: Links, attempt: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmtpServer, "demands_starttls", True)
    porter = Porter()
    async with listening(porter, None) as port:
        server = SmtpServer("127.0.0.1", port, user="crown", password="secret")
        assert await outcome_of(server, links, attempt) == Retry("CONNECT_FAILED")
    assert porter.encrypted == []
