"""What the services of channels have in common to be told, over what every service is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from crown import rates
from crown.channel_settings import ChannelSettings
from crown.notification.v1.types_pb2 import Category, Channel
from crown.settings import SettingsError

NAMES = {
    "NATS_URL": "nats://127.0.0.1:4222",
    "DATABASE_URL": "mongodb://127.0.0.1:27017/crown",
    "REDIS_HOST": "127.0.0.1",
    "CROWN_JWKS": "/nowhere",
    "CROWN_JWT_ISSUER": "test",
    "CROWN_DATA_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


@pytest.fixture(autouse=True)
def required(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NAMES.items():
        monkeypatch.setenv(name, value)


def test_left_out() -> None:
    settings = ChannelSettings.load()
    assert settings.gateway_url == ""
    assert rates.parse(settings.provider_rates) == {}
    assert settings.provider_timeout_s == 10
    assert settings.rules.most_age == timedelta(hours=72)
    assert settings.rules.unknown.resends_allowed(Channel.SMS, Category.SECURITY) == 1


def test_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CROWN_GATEWAY_URL": "https://notify.example/",
        "CROWN_PROVIDER_RATES": "twilio=50",
        "CROWN_PROVIDER_TIMEOUT_S": "3.5",
        "CROWN_DELIVERY_AGE_H": "0.5",
        "CROWN_UNKNOWN_OUTCOMES": "sms.*=park",
    }.items():
        monkeypatch.setenv(name, value)
    settings = ChannelSettings.load()
    assert settings.gateway_url == "https://notify.example"
    assert rates.parse(settings.provider_rates) == {"twilio": 50}
    assert settings.provider_timeout_s == 3.5
    assert settings.rules.most_age == timedelta(minutes=30)
    assert settings.rules.unknown.resends_allowed(Channel.SMS, Category.SECURITY) == 0


WRONG: dict[str, tuple[Any, ...]] = {
    "CROWN_GATEWAY_URL": ("notify.example", "https://notify.example/path", "ftp://notify.example"),
    "CROWN_PROVIDER_RATES": ("twilio", "twilio=0", "twilio=fast"),
    "CROWN_PROVIDER_TIMEOUT_S": ("0", "10.1", "nan", "soon"),
    "CROWN_DELIVERY_AGE_H": ("0", "-1", "inf", "9999"),
    "CROWN_UNKNOWN_OUTCOMES": ("sms=park", "sms.*=often", "fax.*=park"),
    "CROWN_IN_FLIGHT": ("0", "2001"),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        ChannelSettings.load()
    (problem,) = error.value.problems
    assert problem.startswith(f"{name}: ")
