"""The answers of long polling that real servers seldom give: each has to be one after which phoenix.js comes back."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from crown.auth import Authenticator, Principal
from crown.errors import BusUnavailable, CrownError, Unauthenticated, Unavailable
from services.realtime.handshake import Handshake
from services.realtime.limits import Limits
from services.realtime.longpoll import LongPoll
from services.realtime.origins import Origins
from services.realtime.people import People
from services.realtime.proxies import PRIVATE, Proxies
from services.realtime.sessions import Sessions, Tokens
from services.realtime.sockets import Sockets

if TYPE_CHECKING:
    from crown import vault
    from services.realtime.channel import Backend


class FakeAuthenticator:
    """Believes every token, or fails."""

    def __init__(self, failure: CrownError | None = None) -> None:
        self.failure = failure

    async def principal(self, token: str) -> Principal:
        """See Authenticator."""
        if self.failure:
            raise self.failure
        return Principal("user", token, frozenset(), 2e9)


class FakeSessions(Sessions):
    """Sessions of one process whose bus is away."""

    crowded = False

    @property
    def full(self) -> bool:
        """See Sessions."""
        return self.crowded

    async def _ask(self, node: str, request: Any) -> Any:
        if node == "broken":
            raise RuntimeError("secret")
        if node != "node":
            raise BusUnavailable("away")
        return await super()._ask(node, request)


@pytest.fixture
def authenticator() -> FakeAuthenticator:
    """Who is who."""
    return FakeAuthenticator()


@pytest.fixture
def sessions(data_key: vault.Key, backend: Backend) -> FakeSessions:
    """The sessions."""
    return FakeSessions("node", cast(Any, None), data_key, backend.spawn, 0.05)


LIMITS = Limits()


@asynccontextmanager
async def serving(
    authenticator: FakeAuthenticator, sessions: Sessions, backend: Backend, limits: Limits = LIMITS
) -> AsyncIterator[tuple[str, aiohttp.ClientSession, Sockets]]:
    people = Sockets(
        "node",
        backend,
        cast(Authenticator, authenticator),
        Origins(),
        People(backend.spawn, limits.per_user),
        limits=limits,
        proxies=Proxies.of(PRIVATE),
    )
    assert isinstance(people.handshake, Handshake)
    polls = LongPoll(people, sessions)
    bound = socket.create_server(("127.0.0.1", 0))
    await polls.listen(bound)
    async with aiohttp.ClientSession() as http:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/socket/longpoll?vsn=2.0.0&token=", http, people
    await polls.refuse()
    await polls.close()


async def test_a_session_is_opened_with_any_good_token(
    authenticator: FakeAuthenticator, sessions: FakeSessions, backend: Backend
) -> None:
    async with serving(authenticator, sessions, backend) as (url, http, people):
        async with http.get(url + "ann") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, 410)
        assert (len(sessions), len(people)) == (1, 1)
        await people.drain(0.1)
        assert (len(sessions), len(people)) == (0, 0)
        async with http.get(url + "ann") as answer:
            assert (answer.status, await answer.read()) == (503, b"")


async def test_where_there_are_too_many_it_is_to_come_later(
    authenticator: FakeAuthenticator, sessions: FakeSessions, backend: Backend
) -> None:
    sessions.crowded = True
    async with serving(authenticator, sessions, backend) as (url, http, people):
        async with http.get(url + "ann") as answer:
            assert (answer.status, await answer.read()) == (503, b"")
        assert len(people) == 0


@pytest.mark.parametrize(
    ("failure", "status", "body"),
    [
        pytest.param(Unavailable("no keys"), 503, b"", id="keys are away"),
        pytest.param(Unauthenticated("bad"), 200, b'{"status":403}', id="bad token"),
        pytest.param(RuntimeError("secret"), 500, b"", id="a bug"),
    ],
)
async def test_failures_tell_nothing(
    sessions: FakeSessions, backend: Backend, failure: Any, status: int, body: bytes
) -> None:
    async with serving(FakeAuthenticator(failure), sessions, backend) as (url, http, _):
        async with http.get(url + "ann") as answer:
            assert (answer.status, await answer.read()) == (status, body)


@pytest.mark.parametrize(("node", "status"), [("other", 503), ("broken", 500)])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_session_out_of_reach_is_no_session_that_is_gone(
    authenticator: FakeAuthenticator,
    sessions: FakeSessions,
    backend: Backend,
    data_key: vault.Key,
    node: str,
    status: int,
    method: str,
) -> None:
    token = Tokens(data_key).sign(node, "s")
    async with serving(authenticator, sessions, backend) as (url, http, _):
        async with http.request(method, url + token) as answer:
            assert (answer.status, await answer.read()) == (status, b"")


async def test_sessions_count_as_their_clients_connections(
    authenticator: FakeAuthenticator, sessions: FakeSessions, backend: Backend
) -> None:
    limits = Limits(per_address=1, per_user=1)
    async with serving(authenticator, sessions, backend, limits) as (url, http, people):
        async with http.get(url + "ann") as answer:
            token = (await answer.json())["token"]
        async with http.get(url + "bob") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
        elsewhere = {"X-Forwarded-For": "198.51.100.1"}
        async with http.get(url + "ann", headers=elsewhere) as answer:
            third = (await answer.json())["token"]
        async with http.get(url + third, headers=elsewhere) as answer:
            # It names no person, and the newest has lost its session.
            assert (await answer.json())["status"] == 403
        async with http.get(url + token) as answer:
            assert (await answer.json())["status"] == 204
        assert (len(sessions), len(people)) == (1, 1)
