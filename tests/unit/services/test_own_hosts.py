"""With nothing overridden each adapter addresses the provider's own host."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest

from crown.clock import now
from crown.http import Answer, Http
from crown.provider import Attempt
from services.email.__main__ import provider as email_provider
from services.email.message import Composer
from services.email.settings import EmailSettings
from services.push.__main__ import providers as push_providers
from services.push.fcm.access_token import AccessToken
from services.push.settings import PushSettings
from services.sms.__main__ import provider as sms_provider
from services.sms.settings import SmsSettings

Make = Callable[..., Attempt]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> list[str]:
    """The addresses of the calls that would have been made."""
    calls: list[str] = []

    async def call(_http: Http, method: str, url: str, _headers: object, **_rest: object) -> Answer:
        calls.append(f"{method} {url}")
        return Answer(500, {}, b"")

    monkeypatch.setattr(Http, "_call", call)
    for name in ("TWILIO_REGION", "TWILIO_EDGE"):
        monkeypatch.setenv(name, "elsewhere")
    return calls


async def test_sendgrid(called: list[str], monkeypatch: pytest.MonkeyPatch, attempt: Make) -> None:
    monkeypatch.setenv("CROWN_SENDGRID_API_KEY", "SG.key")
    monkeypatch.setenv("CROWN_EMAIL_FROM", "notifications@crown.example")
    told = EmailSettings.load()
    client = email_provider("sendgrid", told, Composer(told.letterhead))
    await client.send(attempt("ann@example.org"))
    await client.close()
    assert called == ["POST https://api.sendgrid.com/v3/mail/send"]


async def test_twilio(called: list[str], monkeypatch: pytest.MonkeyPatch, attempt: Make) -> None:
    monkeypatch.setenv("SMS_API_KEY", "AC123:token")
    monkeypatch.setenv("CROWN_SMS_FROM", "+15005550006")
    client = sms_provider("twilio", SmsSettings.load())
    await client.send(attempt("+14155550123"))
    await client.find(attempt("+14155550123"), now() - timedelta(minutes=1))
    await client.close()
    messages = "https://api.twilio.com/2010-04-01/Accounts/AC123/Messages.json"
    assert called == [f"POST {messages}", f"GET {messages}"]


async def test_fcm(
    called: list[str], monkeypatch: pytest.MonkeyPatch, attempt: Make, service_account: dict[str, Any]
) -> None:
    async def token(_self: AccessToken) -> str:
        return "ya29.token"

    async def badge(_user_id: str) -> int:
        return 0

    async def forget(_ids: Collection[str]) -> None:
        pass

    monkeypatch.setattr(AccessToken, "current", token)
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps(service_account))
    (client,) = push_providers(PushSettings.load(), badge, forget)
    await client.send(attempt("token-1"))
    await client.close()
    assert called == ["POST https://fcm.googleapis.com/v1/projects/crown-sandbox/messages:send"]
