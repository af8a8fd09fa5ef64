"""How sandbox and mailbox take their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.environment import load
from stack.mailbox.settings import Settings as MailboxSettings
from stack.sandbox.settings import Settings


def test_a_secret_comes_as_variable_or_as_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("AC1:from-file\n")
    monkeypatch.setenv("CROWN_SANDBOX_TWILIO_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("CROWN_SANDBOX_SENDGRID_KEY", "SG.direct")
    settings = load(Settings)
    assert settings.twilio_key is not None
    assert settings.twilio_key.get_secret_value() == "AC1:from-file"
    assert settings.sendgrid_key is not None
    assert settings.sendgrid_key.get_secret_value() == "SG.direct"
    assert "SG.direct" not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"CROWN_MAILBOX_SMTP_PORT": "70000", "CROWN_MAILBOX_BIND": "::"}, ["_SMTP_PORT", "_BIND"]),
        ({"CROWN_MAILBOX_HTTP_PORT": "x-secret"}, ["CROWN_MAILBOX_HTTP_PORT"]),
        ({"CROWN_MAILBOX_USER": "x-secret"}, ["CROWN_MAILBOX_USER and CROWN_MAILBOX_PASSWORD"]),
        ({"CROWN_MAILBOX_PASSWORD": "x-secret"}, ["CROWN_MAILBOX_USER and CROWN_MAILBOX_PASSWORD"]),
        (
            {"CROWN_MAILBOX_PASSWORD": "x-secret", "CROWN_MAILBOX_PASSWORD_FILE": "/dev/null"},
            ["CROWN_MAILBOX_PASSWORD and PASSWORD_FILE"],
        ),
    ],
)
def test_every_problem_is_named_and_no_value_shown(
    variables: dict[str, str],
    named: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        load(MailboxSettings)
    assert stopped.value.code == 2
    errors = capsys.readouterr().err
    assert all(text in errors for text in named)
    assert "x-secret" not in errors


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_SANDBOX_PORT", "")
    assert load(Settings).port == 3009
