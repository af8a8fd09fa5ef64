"""What the push service is told, variable by variable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crown.settings import SettingsError
from services.push.settings import PushSettings

WRONG = "PUSH_SERVICE_KEY: must be a Firebase service account: its JSON, or the path of a file that holds it"


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
    assert settings.service_account == service_account
    assert settings.fcm_url == "http://127.0.0.1:3009"
    assert "PRIVATE KEY" not in repr(settings)


@pytest.mark.parametrize("name", ["PUSH_SERVICE_KEY", "PUSH_SERVICE_KEY_FILE"])
def test_as_a_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service_account: dict[str, Any], name: str
) -> None:
    (tmp_path / "account.json").write_text(json.dumps(service_account))
    monkeypatch.setenv(name, str(tmp_path / "account.json"))
    assert PushSettings.load().service_account == service_account


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
