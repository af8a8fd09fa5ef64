"""What the e-mail service is told, variable by variable."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from crown.notification.v1.types_pb2 import Category
from crown.settings import SettingsError
from services.email.settings import EmailSettings

KEY = base64.b64encode(b"k" * 32).decode()
FROM = "Crown <notifications@crown.example>"


@pytest.fixture(autouse=True)
def required(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_EMAIL_FROM", FROM)
    monkeypatch.setenv("SMTP_HOST", "mail.example.org")


def problems() -> list[str]:
    with pytest.raises(SettingsError) as error:
        EmailSettings.load()
    return error.value.problems


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SMTP_HOST": "smtps://mail.example.org:4650",
        "SMTP_USER": "ann",
        "SMTP_PASSWORD": "secret",
        "CROWN_SENDGRID_API_KEY": "SG.key",
        "CROWN_SENDGRID_URL": "http://127.0.0.1:3009/",
        "CROWN_EMAIL_PROVIDERS": "sendgrid, smtp",
        "CROWN_SENDGRID_TRACKING": "true",
        "CROWN_UNSUBSCRIBE_KEYS": f"2026:{KEY},data",
        "CROWN_GATEWAY_URL": "https://api.example.org",
        "CROWN_PUBLIC_URL": "https://app.example.org",
        "CROWN_LINK_HOSTS": "cdn.example.net, img.example.net",
        "CROWN_IN_FLIGHT": "7",
    }.items():
        monkeypatch.setenv(name, value)
    settings = EmailSettings.load()
    server = settings.smtp_server
    assert (server.host, server.port, server.tls) == ("mail.example.org", 4650, True)
    assert (server.user, server.password) == ("ann", "secret")
    assert settings.sendgrid_api_key.get_secret_value() == "SG.key"
    assert settings.sendgrid_url == "http://127.0.0.1:3009"
    assert settings.shares == {"sendgrid": 1, "smtp": 0}
    assert settings.in_flight == 7
    assert settings.sendgrid_tracking is True
    url = settings.unsubscribe_links.url("user1", Category.SOCIAL)
    assert url.startswith("https://api.example.org/unsubscribe/")
    assert settings.unsubscribe_links.read(url.rpartition("/")[2]) == ("user1", Category.SOCIAL)
    letterhead = settings.letterhead
    assert (letterhead.name, letterhead.address) == ("Crown", "notifications@crown.example")
    assert letterhead.links.action("/m/1") == "https://app.example.org/m/1"
    assert letterhead.links.action("https://cdn.example.net/x") == "https://cdn.example.net/x"
    assert letterhead.links.action("https://crown.example/x") == ""


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("SMTP_HOST", lambda s: s.smtp_server.host),
        ("SMTP_PASSWORD", lambda s: s.smtp_password.get_secret_value()),
        ("CROWN_SENDGRID_API_KEY", lambda s: s.sendgrid_api_key.get_secret_value()),
    ],
)
def test_a_secret_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, read: object
) -> None:
    monkeypatch.setenv("SMTP_USER", "ann")
    monkeypatch.delenv(name, raising=False)
    (tmp_path / "secret").write_text("kept-secret\n")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert callable(read)
    assert read(EmailSettings.load()) == "kept-secret"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_HOST", "http://hush.example"),
        ("SMTP_HOST", "smtp://ann:hush@mail:port"),
        ("CROWN_SENDGRID_URL", "ftp://hush.example"),
        ("CROWN_SENDGRID_URL", "https://api.sendgrid.com/hush"),
        ("CROWN_SENDGRID_URL", "https://hush@api.sendgrid.com"),
        ("CROWN_SENDGRID_WEBHOOK_KEY", "hush"),
        ("CROWN_SENDGRID_TRACKING", "hush"),
        ("CROWN_UNSUBSCRIBE_KEYS", "hush"),
        ("CROWN_UNSUBSCRIBE_KEYS", f"hush:{KEY},hush:{KEY}"),
        ("CROWN_EMAIL_FROM", "hush"),
        ("CROWN_EMAIL_FROM", "hush@example.org, eve@example.net"),
        ("CROWN_EMAIL_FROM", "Hush\r\nBcc: eve@example.net <ann@example.org>"),
        ("CROWN_EMAIL_PROVIDERS", "smtp,hush"),
        ("CROWN_EMAIL_PROVIDERS", "smtp:hush"),
        ("CROWN_EMAIL_PROVIDERS", "smtp,smtp:1"),
        ("CROWN_PUBLIC_URL", "crown.hush"),
        ("CROWN_IN_FLIGHT", "0"),
        ("CROWN_IN_FLIGHT", "hush"),
    ],
)
def test_a_wrong_value_is_named_and_not_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    (problem,) = problems()
    assert problem.startswith(f"{name}: ")
    assert "hush" not in problem


def test_a_provider_that_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_EMAIL_PROVIDERS", "smtp,sendgrid")
    assert problems() == ["CROWN_EMAIL_PROVIDERS: lists sendgrid, which needs CROWN_SENDGRID_API_KEY"]


def test_no_provider_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTP_HOST")
    assert problems() == ["CROWN_EMAIL_PROVIDERS: SMTP_HOST or CROWN_SENDGRID_API_KEY is required"]


def test_left_out_those_that_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EmailSettings.load().shares == {"smtp": 1}
    monkeypatch.setenv("CROWN_SENDGRID_API_KEY", "SG.key")
    assert EmailSettings.load().shares == {"smtp": 1, "sendgrid": 0}


def test_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_SENDGRID_API_KEY", "SG.key")
    monkeypatch.setenv("CROWN_EMAIL_PROVIDERS", "sendgrid:3, smtp:1")
    assert EmailSettings.load().shares == {"sendgrid": 3, "smtp": 1}


def test_without_an_address_of_the_gateway_there_are_no_links_to_unsubscribe() -> None:
    assert EmailSettings.load().unsubscribe_links.url("user1", Category.SOCIAL) == ""


def test_nobody_to_send_as(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROWN_EMAIL_FROM")
    assert problems() == ["CROWN_EMAIL_FROM: is required"]


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_HOST", "smtp://ann:hush@mail.example.org")
    monkeypatch.setenv("SMTP_PASSWORD", "hush")
    monkeypatch.setenv("CROWN_SENDGRID_API_KEY", "hush")
    assert "hush" not in repr(EmailSettings.load())
