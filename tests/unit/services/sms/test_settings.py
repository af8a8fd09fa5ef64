"""What the SMS service is told, variable by variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from crown.settings import SettingsError
from services.sms.settings import SmsSettings

KEY = f"AC{'0' * 32}:token"


@pytest.fixture(autouse=True)
def required(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_API_KEY", KEY)
    monkeypatch.setenv("CROWN_SMS_FROM", "+15005550006")


def problems() -> list[str]:
    with pytest.raises(SettingsError) as error:
        SmsSettings.load()
    return error.value.problems


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_TWILIO_URL", "http://127.0.0.1:3009")
    monkeypatch.setenv("CROWN_SMS_STATUS_URL", "https://crown.example/webhooks/twilio/status")
    settings = SmsSettings.load()
    assert settings.account == (f"AC{'0' * 32}", "token")
    assert settings.sender == "+15005550006"
    assert settings.twilio_url == "http://127.0.0.1:3009"
    assert settings.status_url == "https://crown.example/webhooks/twilio/status"
    assert "token" not in repr(settings)


def test_the_key_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SMS_API_KEY")
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("SMS_API_KEY_FILE", str(tmp_path / "key"))
    assert SmsSettings.load().account[1] == "token"


@pytest.mark.parametrize("sender", ["+15005550006", "12345", "Crown", "Crown App 2", "MG" + "a" * 32])
def test_senders(monkeypatch: pytest.MonkeyPatch, sender: str) -> None:
    monkeypatch.setenv("CROWN_SMS_FROM", sender)
    assert SmsSettings.load().sender == sender


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMS_API_KEY", "hush"),
        ("SMS_API_KEY", f"AC{'0' * 32}:"),
        ("SMS_API_KEY", f"AC{'0' * 32}:hush hush"),
        ("CROWN_SMS_FROM", "hush-hush-hush"),
        ("CROWN_SMS_FROM", "+hush"),
        ("CROWN_TWILIO_URL", "hush"),
        ("CROWN_SMS_STATUS_URL", "hush"),
        ("CROWN_SMS_STATUS_URL", "https://[hush"),
    ],
)
def test_a_wrong_value_is_named_and_not_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    (problem,) = problems()
    assert problem.startswith(f"{name}: ")
    assert "hush" not in problem


def test_all_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMS_API_KEY")
    monkeypatch.delenv("CROWN_SMS_FROM")
    assert problems() == ["SMS_API_KEY: is required", "CROWN_SMS_FROM: is required"]
