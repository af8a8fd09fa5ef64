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
        ("SMS_API_KEY_OLD", "AC1:hush hush"),
        ("CROWN_SNS_KEY", "hush"),
        ("CROWN_SNS_KEY", "AKIA:hush hush"),
        ("CROWN_SNS_REGION", "hush"),
        ("CROWN_SNS_URL", "hush"),
        ("CROWN_SNS_PRICE_MOST", "hush"),
        ("CROWN_SNS_TOPICS", "arn:aws:sns:eu-west-1:123456789012:ok,hush"),
        ("CROWN_SNS_CERT_HOSTS", "https://hush"),
        ("CROWN_SNS_CA_FILE", "/hush"),
        ("CROWN_SNS_CA_FILE", __file__),
        ("CROWN_SMS_SENDERS", "DE=hush-hush-hush"),
        ("CROWN_SMS_SENDERS", "XX=hush"),
        ("CROWN_SMS_COUNTRIES", "US,hush"),
        ("CROWN_SMS_COUNTRIES", "001"),
        ("CROWN_SMS_SEGMENTS_MOST", "11"),
        ("CROWN_SMS_DAY_MOST", "-1"),
        ("CROWN_SMS_CALLER_PERCENT", "0"),
        ("CROWN_SMS_CALLER_PERCENT", "101"),
        ("CROWN_SMS_RESERVE_PERCENT", "-1"),
        ("CROWN_SMS_RESERVE_PERCENT", "91"),
        ("CROWN_SMS_PROVIDERS", "hush"),
        ("CROWN_GATEWAY_URL", "hush"),
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
    assert problems() == [
        "CROWN_SMS_FROM: is required",
        "CROWN_SMS_PROVIDERS: SMS_API_KEY or CROWN_SNS_KEY is required",
    ]


def test_a_provider_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_SMS_PROVIDERS", "twilio,sns")
    assert problems() == ["CROWN_SMS_PROVIDERS: lists sns, which needs CROWN_SNS_KEY"]
    monkeypatch.setenv("CROWN_SNS_KEY", "AKIA1234:secret/+=")
    settings = SmsSettings.load()
    assert settings.shares == {"twilio": 1, "sns": 0}
    assert settings.sns_account == ("AKIA1234", "secret/+=")
    assert "secret" not in repr(settings)


def test_those_that_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SmsSettings.load().shares == {"twilio": 1}
    monkeypatch.setenv("CROWN_SNS_KEY", "AKIA1234:secret")
    assert SmsSettings.load().shares == {"twilio": 1, "sns": 0}
    monkeypatch.setenv("CROWN_SMS_PROVIDERS", "sns:1, twilio:3")
    assert SmsSettings.load().shares == {"sns": 1, "twilio": 3}
    monkeypatch.delenv("SMS_API_KEY")
    monkeypatch.delenv("CROWN_SMS_PROVIDERS")
    found = SmsSettings.load()
    assert (found.shares, found.twilio_tokens) == ({"sns": 1}, ())


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://sns.eu-west-1.amazonaws.com"),
        ("cn-north-1", "https://sns.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://sns.us-gov-west-1.amazonaws.com"),
    ],
)
def test_regions(monkeypatch: pytest.MonkeyPatch, region: str, url: str) -> None:
    monkeypatch.setenv("CROWN_SNS_REGION", region)
    assert SmsSettings.load().sns_endpoint == url


def test_nothing_goes_anywhere_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SmsSettings.load().numbers.refusal("+14155550123") == "COUNTRY_NOT_ALLOWED"
    monkeypatch.setenv("CROWN_SMS_COUNTRIES", "DE, US")
    monkeypatch.setenv("CROWN_SMS_SENDERS", "DE=Crown, GB=+447400000001")
    numbers = SmsSettings.load().numbers
    assert numbers.refusal("+14155550123") == ""
    assert [numbers.sender(country) for country in ("DE", "GB", "US")] == [
        "Crown",
        "+447400000001",
        "+15005550006",
    ]


@pytest.mark.parametrize("old", ["old-token", f"AC{'0' * 32}:old-token"])
def test_two_tokens_during_a_change(monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    monkeypatch.setenv("SMS_API_KEY_OLD", old)
    assert SmsSettings.load().twilio_tokens == ("token", "old-token")


def test_where_twilio_tells_what_became_of_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SmsSettings.load().status_address == ""
    monkeypatch.setenv("CROWN_GATEWAY_URL", "https://api.crown.example")
    assert SmsSettings.load().status_address == "https://api.crown.example/webhooks/twilio/status"
    monkeypatch.setenv("CROWN_SMS_STATUS_URL", "https://other.example/s")
    assert SmsSettings.load().status_address == "https://other.example/s"
