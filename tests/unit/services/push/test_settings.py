"""What the push service is told, variable by variable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crown.settings import SettingsError
from services.push.settings import PushSettings

WRONG = (
    "PUSH_SERVICE_KEY: must be a Firebase service account, or a list of them of one project: its JSON, or the "
    "path of a file that holds it"
)


@pytest.fixture(autouse=True)
def required(environment: dict[str, str]) -> None:
    pass


def problems() -> list[str]:
    with pytest.raises(SettingsError) as error:
        PushSettings.load()
    return error.value.problems


def test_as_json(monkeypatch: pytest.MonkeyPatch, service_account: dict[str, Any]) -> None:
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps(service_account))
    monkeypatch.setenv("CROWN_FCM_URL", "http://127.0.0.1:3009")
    settings = PushSettings.load()
    assert settings.service_accounts == [service_account]
    assert settings.fcm_url == "http://127.0.0.1:3009"
    assert "PRIVATE KEY" not in repr(settings)


@pytest.mark.parametrize("name", ["PUSH_SERVICE_KEY", "PUSH_SERVICE_KEY_FILE"])
def test_as_a_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service_account: dict[str, Any], name: str
) -> None:
    (tmp_path / "account.json").write_text(json.dumps(service_account))
    monkeypatch.setenv(name, str(tmp_path / "account.json"))
    assert PushSettings.load().service_accounts == [service_account]


@pytest.mark.parametrize("part", ["type", "project_id", "private_key", "client_email", "token_uri"])
def test_a_part_is_missing(
    monkeypatch: pytest.MonkeyPatch, service_account: dict[str, Any], part: str
) -> None:
    account = {name: value for name, value in service_account.items() if name != part}
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps(account))
    assert problems() == [WRONG]


@pytest.mark.parametrize(
    "value",
    [
        "/no/such/hush.json",
        "{",
        "[]",
        "[1]",
        '{"hush": 1}',
        "hush\x01",
        '{"private_key": "hush", "type": "service_account"}',
    ],
)
def test_a_wrong_value_is_named_and_not_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PUSH_SERVICE_KEY", value)
    assert problems() == [WRONG]


def test_a_broken_key(monkeypatch: pytest.MonkeyPatch, service_account: dict[str, Any]) -> None:
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps({**service_account, "private_key": "hush"}))
    assert problems() == [WRONG]


def test_without_a_key() -> None:
    assert problems() == ["PUSH_SERVICE_KEY: is required"]


def test_a_wrong_address(monkeypatch: pytest.MonkeyPatch, service_account: dict[str, Any]) -> None:
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps(service_account))
    monkeypatch.setenv("CROWN_FCM_URL", "hush")
    (problem,) = problems()
    assert problem.startswith("CROWN_FCM_URL: ")
    assert "hush" not in problem


def test_several_accounts_of_one_project(
    monkeypatch: pytest.MonkeyPatch, service_account: dict[str, Any]
) -> None:
    both = [service_account, {**service_account, "client_email": "second@crown.example"}]
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps(both))
    assert PushSettings.load().service_accounts == both


def test_accounts_of_two_projects(monkeypatch: pytest.MonkeyPatch, service_account: dict[str, Any]) -> None:
    both = [service_account, {**service_account, "project_id": "another"}]
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps(both))
    assert problems() == [WRONG]


KEY = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, service_account: dict[str, Any]) -> None:
    monkeypatch.setenv("PUSH_SERVICE_KEY", json.dumps(service_account))


@pytest.mark.usefixtures("account")
def test_browsers_are_reached_with_a_key_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PushSettings.load().egress is None
    monkeypatch.setenv("CROWN_WEB_PUSH_KEY", KEY)
    monkeypatch.setenv("CROWN_WEB_PUSH_CONTACT", "mailto:ops@crown.example")
    settings = PushSettings.load()
    assert settings.egress is not None
    for host in (
        "fcm.googleapis.com",
        "updates.push.services.mozilla.com",
        "wns2-par02p.notify.windows.com",
        "web.push.apple.com",
    ):
        assert settings.egress.problem(f"https://{host}/x") is None
    assert settings.egress.problem("http://127.0.0.1:3009/web-push/1") is not None
    assert len(settings.vapid.public_key) == 87
    assert KEY not in repr(settings)


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROWN_WEB_PUSH_KEY", "hush"),
        ("CROWN_WEB_PUSH_KEY", "-----BEGIN PRIVATE KEY-----hush"),
        ("CROWN_WEB_PUSH_CONTACT", "hush@crown.example"),
        ("CROWN_WEB_PUSH_CONTACT", "mailto:hush"),
        ("CROWN_WEB_PUSH_HOSTS", "https://hush.example"),
        ("CROWN_WEB_PUSH_HOSTS", "a.example,,hush.example"),
    ],
)
def test_a_wrong_setting_for_browsers(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("CROWN_WEB_PUSH_KEY", KEY)
    monkeypatch.setenv("CROWN_WEB_PUSH_CONTACT", "mailto:ops@crown.example")
    monkeypatch.setenv(name, value)
    (problem,) = problems()
    assert problem.startswith(f"{name}: ")
    assert "hush" not in problem


@pytest.mark.usefixtures("account")
def test_a_key_needs_a_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_WEB_PUSH_KEY", KEY)
    (problem,) = problems()
    assert problem == "CROWN_WEB_PUSH_KEY: goes with CROWN_WEB_PUSH_CONTACT only"
