"""Decisions about requests for a socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crown.auth import Authenticator, Keys
from services.realtime.handshake import Admission, Handshake, Refused
from services.realtime.origins import Origins
from stack.secrets import Secrets
from stack.tokens import AUDIENCE, ISSUER, Use, sign


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    """Keys of these tests."""
    return Secrets(tmp_path_factory.mktemp("trust"))


@pytest.fixture
async def authenticator(secrets: Secrets) -> Authenticator:
    """Which knows them."""
    found = Authenticator(Keys(str(secrets.jwks())), ISSUER, AUDIENCE)
    await found.warm()
    return found


def admit(
    authenticator: Authenticator,
    target: str,
    origins: str = "",
    spawned: list[Any] | None = None,
    **headers: str,
) -> Admission:
    """What is decided."""

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        (spawned if spawned is not None else []).append(asyncio.ensure_future(work))

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Handshake(authenticator, Origins.of(origins), spawn).admit(
        target, {"Host": "crown.example", **named}
    )


async def test_a_good_request(authenticator: Authenticator, secrets: Secrets) -> None:
    token = sign(secrets, Use.USER, "ann")
    admission = admit(authenticator, f"/socket/websocket?vsn=2.0.0&token={token}")
    assert (admission.principal.use, admission.principal.subject) == ("user", "ann")
    assert admission.subprotocol is None


async def test_the_token_of_the_subprotocol_goes_first(
    authenticator: Authenticator, secrets: Secrets
) -> None:
    hidden = base64.b64encode(sign(secrets, Use.USER, "ann").encode()).decode().rstrip("=")
    admission = admit(
        authenticator,
        "/socket/websocket?vsn=2.0.0&token=other",
        Sec_WebSocket_Protocol=f"phoenix, base64url.bearer.phx.{hidden}",
    )
    assert admission.principal.subject == "ann"
    assert admission.subprotocol == "phoenix"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/socket/websocket", 403),
        ("/socket/websocket?vsn=2.0.0", 403),
        ("/socket/websocket?vsn=2.0.0&token=", 403),
        ("/socket/websocket?vsn=2.0.0&token=a.b.c", 403),
        ("/socket/websocket?vsn=2.0.0&token=%ff%fe", 400),
        ("/socket/websocket?" + "&".join(f"a{n}=1" for n in range(40)), 400),
        ("/socket/websocket/", 404),
        ("/socket", 404),
        ("/", 404),
        ("*", 404),
        ("http://[", 400),
    ],
)
async def test_bad_requests(authenticator: Authenticator, target: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        admit(authenticator, target)
    assert refused.value.status == status


@pytest.mark.parametrize("hidden", ["", "!", "aGk", "/w", "ÿ"])
async def test_a_bad_token_in_the_subprotocol(authenticator: Authenticator, hidden: str) -> None:
    with pytest.raises(Refused) as refused:
        admit(
            authenticator,
            "/socket/websocket?vsn=2.0.0",
            Sec_WebSocket_Protocol=f"phoenix, base64url.bearer.phx.{hidden}",
        )
    assert refused.value.status == 403


async def test_a_key_that_is_not_read_yet_is_read_where_it_is_a_file(secrets: Secrets) -> None:
    cold = Authenticator(Keys(str(secrets.jwks())), ISSUER, AUDIENCE)
    target = f"/socket/websocket?vsn=2.0.0&token={sign(secrets, Use.USER, 'ann')}"
    assert admit(cold, target).principal.subject == "ann"


async def test_a_key_from_elsewhere_is_there_the_next_time(secrets: Secrets) -> None:
    app = web.Application()
    app.router.add_get("/jwks", partial(_published, secrets))
    async with TestServer(app) as server:
        cold = Authenticator(Keys(str(server.make_url("/jwks"))), ISSUER, AUDIENCE)
        target = f"/socket/websocket?vsn=2.0.0&token={sign(secrets, Use.USER, 'ann')}"
        reading: list[asyncio.Future[None]] = []
        with pytest.raises(Refused):
            admit(cold, target, spawned=reading)
        await asyncio.gather(*reading)
        assert admit(cold, target).principal.subject == "ann"


async def _published(secrets: Secrets, _request: web.Request) -> web.Response:
    return web.Response(text=secrets.jwks().read_text())


@pytest.mark.parametrize(
    ("listed", "origin", "host", "allowed"),
    [
        ("", None, "crown.example", True),
        ("", "https://crown.example", "crown.example", True),
        ("", "https://crown.example:8443", "crown.example:3005", True),
        ("", "https://CROWN.example", "crown.EXAMPLE", True),
        ("", "http://[::1]:8080", "[::1]:3005", True),
        ("", "https://evil.example", "crown.example", False),
        ("", "https://crown.example.evil.example", "crown.example", False),
        ("", "null", "crown.example", False),
        ("", "", "", False),
        ("", "https://[", "crown.example", False),
        ("", "https://crown.\texample", "crown.example", False),
        ("", "https://crown.example/app", "crown.example", False),
        ("", "https://crown.example:", "crown.example", False),
        ("", "https://crown.\u00e9xample", "crown.\u00e9xample", False),
        ("https://app.example", "https://app.example", "crown.example", True),
        ("https://app.example/", "https://app.example", "crown.example", True),
        ("https://app.example", "http://app.example", "crown.example", False),
        ("https://app.example", "https://crown.example", "crown.example", False),
        ("https://app.example", None, "crown.example", True),
        ("https://*.app.example", "https://a.app.example", "crown.example", True),
        ("https://*.app.example", "https://app.example", "crown.example", False),
        ("https://*.app.example", "https://evil-app.example", "crown.example", False),
        ("https://a.example, http://b.example:8080", "http://b.example:8080", "crown.example", True),
        ("*", "null", "crown.example", True),
    ],
)
def test_origins(listed: str, origin: str | None, host: str, allowed: bool) -> None:
    assert Origins.of(listed).allow(origin, host) is allowed


@pytest.mark.parametrize("listed", ["app.example", "https://", "https://*", "ftp://a", "https://a/b", "*.a"])
def test_what_is_no_origin(listed: str) -> None:
    with pytest.raises(ValueError, match="must be origins"):
        Origins.of(listed)
