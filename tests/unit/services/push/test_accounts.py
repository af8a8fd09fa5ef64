"""Several accounts of one project: where Google takes one no more, the other carries on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from crown.outcome import Delivered, Outcome, Retry
from crown.provider import Attempt
from crown.recipients import Destination
from crown.route import Route
from services.push.__main__ import providers
from services.push.settings import PushSettings
from stack import keys
from tests.unit.services.push.push_service import Browser, PushService, opened

Make = Callable[..., Attempt]


async def none(_: object) -> int:
    return 0


@pytest.fixture
async def route(
    sandbox: Any, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Route]:
    """Two accounts, of which Google does not know the first."""
    unknown = json.loads(keys.new_service_account(sandbox.account["token_uri"]))
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps([unknown, sandbox.account]))
    monkeypatch.setenv("CROWN_FCM_URL", sandbox.url)
    made = Route(providers(PushSettings.load(), none, none))  # type: ignore[arg-type]
    yield made
    await made.close()


async def send(route: Route, attempt: Attempt, last: str = "") -> tuple[str, Outcome]:
    """Who made the attempt, and how it ended."""
    turn = route.choose(last)
    assert turn is not None
    return turn.provider.name, await turn.send(attempt)


async def test_a_retry_is_the_others(route: Route, attempt: Make, sandbox: Any) -> None:
    assert route.names == ["fcm", "fcm-2"]
    name, outcome = await send(route, attempt("token-1"))
    assert (name, outcome) == ("fcm", Retry("ACCESS_TOKEN_UNAVAILABLE"))
    name, outcome = await send(route, attempt("token-1", number=2), last=name)
    assert name == "fcm-2"
    assert isinstance(outcome, Delivered)
    assert len(await sandbox.effects()) == 1


async def test_after_a_while_the_first_is_not_asked(route: Route, attempt: Make) -> None:
    for _ in range(10):
        assert (await send(route, attempt("token-1")))[0] == "fcm"
    name, outcome = await send(route, attempt("token-1"))
    assert name == "fcm-2"
    assert isinstance(outcome, Delivered)


async def test_who_is_refused_by_firebase_is_replaced_too(route: Route, attempt: Make, sandbox: Any) -> None:
    await sandbox.script(
        provider="fcm", answer={"status": 403, "body": {"error": {"status": "PERMISSION_DENIED"}}}, times=1
    )
    name, outcome = await send(route, attempt("token-1"), last="fcm")
    assert (name, outcome) == ("fcm-2", Retry("PERMISSION_DENIED"))
    assert (await send(route, attempt("token-1"), last=name))[0] == "fcm"


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    async with opened() as service:
        yield service


async def test_a_browser_whose_service_is_out_stops_nobody_else(
    sandbox: Any,
    service: PushService,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    attempt: Make,
) -> None:
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps(sandbox.account))
    monkeypatch.setenv("CROWN_FCM_URL", sandbox.url)
    monkeypatch.setenv("CROWN_WEB_PUSH_KEY", keys.new_vapid_key())
    monkeypatch.setenv("CROWN_WEB_PUSH_CONTACT", "mailto:ops@crown.example")
    monkeypatch.setenv("CROWN_WEB_PUSH_HOSTS", service.host)
    route = Route(providers(PushSettings.load(), none, none))  # type: ignore[arg-type]
    browser = Browser(f"{service.url}/push/b1").destination
    for status in (503, 429, 401, 502):
        service.status = status
        for _ in range(10):
            found = (await send(route, attempt(Destination("app", "token-1"), browser)))[1]
            assert not isinstance(found, Delivered)
    assert not route.out()
    assert isinstance((await send(route, attempt("token-2")))[1], Delivered)
    await route.close()
