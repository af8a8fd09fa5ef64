"""Every setting of every service, given what it cannot be: nothing starts, the variable is named, and its value is
shown nowhere. The cases follow from the settings classes; a text that has no rule is listed as such."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from crown.settings import ProcessSettings, SettingsError, variable
from services.realtime.relay import feeds_file
from services.realtime.relay.settings import RelaySettings
from stack import environment as stack_environment
from stack.mailbox.settings import Settings as MailboxSettings
from stack.sandbox.settings import Settings as SandboxSettings
from tests.unit.test_settings_page import ALL

# What is found in an answer would be a leak.
MARK = "hunter2"

# What services must be told beside what all are.
NEEDED = {
    "SMTP_HOST": "127.0.0.1",
    "CROWN_EMAIL_FROM": "Crown <notifications@crown.example>",
    "SMS_API_KEY": f"AC{'0' * 32}:token",
    "CROWN_SMS_FROM": "Crown",
    "CROWN_RELAY_FEEDS": "/nowhere",
    "CROWN_RELAY_TOKEN": "token",
    "CROWN_INGEST_ADDRESS": "127.0.0.1:50051",
}

# No text is wrong for these: names, passwords and words that only somebody else knows.
FREE = {
    "NATS_USER",
    "NATS_PASSWORD",
    "SMTP_USER",
    "SMTP_PASSWORD",
    "CROWN_JWT_ISSUER",
    "CROWN_JWT_AUDIENCE",
    "CROWN_TLS_CALLERS",
    # Paths of what the process reads: see below, and test_tls.py.
    "CROWN_RELAY_FEEDS",
    "CROWN_TLS_FOLDER",
}

WRONG_NUMBERS = {int: ("hunter2", "1.5", "-1", "0x10"), float: ("hunter2", "-1", "nan", "inf")}
WRONG_CHOICES = ("hunter2",)
WRONG_TEXTS = {
    "CROWN_BIND": (f"{MARK}.example", "127.0.0.1:80", "256.1.1.1"),
    "CROWN_LOG_LEVEL": (MARK,),
    "CROWN_OTLP_ENDPOINT": (MARK, f"http://collector:4318/{MARK}", f"grpc://{MARK}:4317"),
    "CROWN_OTLP_HEADERS": (MARK, f"a=b,{MARK}"),
    "OTEL_RESOURCE_ATTRIBUTES": (MARK, f"a=b,{MARK}"),
    "CROWN_SENTRY_DSN": (MARK, f"https://sentry.example/{MARK}"),
    "CROWN_FAILPOINT": (MARK, f":/{MARK}"),
    "NATS_URL": (f"{MARK}:4222", f"http://{MARK}", "nats://"),
    "DATABASE_URL": (f"{MARK}:27017", f"mongodb://me:{MARK}@db:port/crown"),
    "REDIS_HOST": (f"http://me:{MARK}@cache", f"cache:{MARK}"),
    "CROWN_JWKS": (f"ftp://auth/{MARK}",),
    "CROWN_DATA_KEY": (MARK, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "CROWN_SEAL_KEYS": (MARK, f"data,{MARK}"),
    "CROWN_CATALOGUE": (f"/no/such/{MARK}",),
    "CROWN_PUBLIC_URL": (MARK, f"https://crown.example/{MARK}"),
    "CROWN_LINK_HOSTS": (f"https://{MARK}.example", "a.example;b.example"),
    "CROWN_FILTER_ADDRESS": (MARK, f"{MARK}:99999"),
    "CROWN_FILTER_TOKEN": (f"{MARK} {MARK}",),
    "CROWN_DISPATCH_LANES": (MARK,),
    "CROWN_PEERS": (MARK, f"email={MARK}"),
    "CROWN_CALLER_RATES": (MARK, f"feed={MARK}"),
    "CROWN_NORMAL_RATE": (MARK,),
    "CROWN_CRITICAL_RATE": (MARK, "0/s:0"),
    "CROWN_WEBHOOK_HOSTS": (MARK,),
    "CROWN_WEBHOOK_SECRET": (MARK, f"feed=whsec_{MARK}"),
    "CROWN_GATEWAY_URL": (MARK, f"https://crown.example/{MARK}"),
    "CROWN_PROVIDER_RATES": (f"smtp={MARK}", "=1"),
    "CROWN_UNKNOWN_OUTCOMES": (MARK, f"sms.marketing={MARK}"),
    "SMTP_HOST": (f"http://{MARK}", f"127.0.0.1:{MARK}"),
    "CROWN_SENDGRID_API_KEY": (f"{MARK} {MARK}",),
    "CROWN_SENDGRID_URL": (MARK,),
    "CROWN_SENDGRID_WEBHOOK_KEY": (MARK,),
    "CROWN_UNSUBSCRIBE_KEYS": (MARK, f"1:{MARK}"),
    "CROWN_EMAIL_FROM": (MARK,),
    "CROWN_EMAIL_PROVIDERS": (MARK, "sendgrid"),
    "PUSH_SERVICE_KEY": (f"/no/such/{MARK}", f'{{"private_key": "{MARK}"}}'),
    "CROWN_FCM_URL": (MARK,),
    "CROWN_WEB_PUSH_CONTACT": (MARK,),
    "CROWN_WEB_PUSH_KEY": (MARK,),
    "CROWN_WEB_PUSH_HOSTS": (f"https://{MARK}/",),
    "SMS_API_KEY": (MARK,),
    "SMS_API_KEY_OLD": (f"{MARK} {MARK}",),
    "CROWN_TWILIO_URL": (MARK,),
    "CROWN_SMS_STATUS_URL": (MARK,),
    "CROWN_SNS_KEY": (MARK,),
    "CROWN_SNS_REGION": (MARK,),
    "CROWN_SNS_URL": (MARK,),
    "CROWN_SNS_PRICE_MOST": (MARK, "-1"),
    "CROWN_SNS_TOPICS": (MARK,),
    "CROWN_SNS_CERT_HOSTS": (f"https://{MARK}/",),
    "CROWN_SNS_CA_FILE": (f"/no/such/{MARK}",),
    "CROWN_SMS_FROM": (f"{MARK}-{MARK}-{MARK}",),
    "CROWN_SMS_SENDERS": (MARK, f"DE={MARK}{MARK}"),
    "CROWN_SMS_COUNTRIES": (MARK,),
    "CROWN_SMS_HELP": (MARK * 300,),
    "CROWN_SMS_PROVIDERS": (MARK, "sns"),
    "CROWN_LISTENERS": (MARK,),
    "CROWN_ALLOWED_ORIGINS": (f"{MARK}/x",),
    "CROWN_TRUSTED_PROXIES": (MARK,),
    "CROWN_INGEST_ADDRESS": (MARK,),
    "CROWN_RELAY_TOKEN": (f"{MARK} {MARK}",),
}

# What a secret may be; of the others what is in the environment anyway will do.
SECRETS = {
    "REDIS_HOST": "redis://heron:heron-secret@127.0.0.1:6379/0",
    "SMTP_HOST": "smtp://heron:heron-secret@127.0.0.1:25",
    "CROWN_RELAY_TOKEN": "heron-secret",
    "CROWN_OTLP_HEADERS": "authorization=heron-secret",
    "CROWN_SENTRY_DSN": "https://abcdef0123456789@sentry.example/1",
    "NATS_PASSWORD": "heron-secret",
    "CROWN_SEAL_KEYS": f"data,{b64encode(bytes(range(32))).decode()}",
    "CROWN_FILTER_TOKEN": "heron-secret",
    "CROWN_WEBHOOK_SECRET": f"feed=whsec_{b64encode(bytes(range(32))).decode()}",
    "SMTP_PASSWORD": "heron-secret",
    "CROWN_SENDGRID_API_KEY": "heron-secret",
    "CROWN_UNSUBSCRIBE_KEYS": f"a:{b64encode(bytes(range(32))).decode()}",
    "CROWN_WEB_PUSH_KEY": b64encode(bytes(range(1, 33))).decode().rstrip("="),
    "SMS_API_KEY_OLD": "heron-secret",
    "CROWN_SNS_KEY": f"{'A' * 20}:{'s' * 40}",
}


def fields() -> Iterator[tuple[type[ProcessSettings], str, FieldInfo]]:
    for settings in ALL:
        for name, field in settings.model_fields.items():
            yield settings, variable(field, name), field


def wrong_values(name: str, field: FieldInfo) -> tuple[str, ...]:
    kind: Any = field.annotation
    if kind in WRONG_NUMBERS:
        return WRONG_NUMBERS[kind]
    return WRONG_CHOICES if kind is bool else WRONG_TEXTS.get(name, ())


CASES = [
    pytest.param(settings, name, value, id=f"{settings.__module__}-{name}-{number}")
    for settings, name, field in fields()
    for number, value in enumerate(wrong_values(name, field))
]


@pytest.fixture(autouse=True)
def given(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, service_account: Any) -> None:
    for name, value in {**NEEDED, "PUSH_SERVICE_KEY": json.dumps(service_account)}.items():
        monkeypatch.setenv(name, value)


def problems(settings: type[ProcessSettings]) -> list[str]:
    with pytest.raises(SettingsError) as error:
        settings.load()
    return error.value.problems


@pytest.mark.parametrize("settings", ALL)
def test_what_the_cases_start_from_is_right(settings: type[ProcessSettings]) -> None:
    settings.load()


def test_every_text_has_something_that_it_cannot_be() -> None:
    texts = {name for _, name, field in fields() if field.annotation in (str, SecretStr)}
    assert texts == WRONG_TEXTS.keys() | FREE


@pytest.mark.parametrize(("settings", "name", "value"), CASES)
def test_a_wrong_value_is_named_alone_and_not_shown(
    settings: type[ProcessSettings], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    found = problems(settings)
    assert [problem.partition(":")[0] for problem in found] == [name]
    assert MARK not in found[0]


@pytest.mark.parametrize(
    ("settings", "name"),
    [(settings, name) for settings, name, field in fields() if field.is_required()],
)
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_what_is_missing_is_named(
    settings: type[ProcessSettings], name: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    assert problems(settings) == [f"{name}: is required"]


# One class for each variable: what reads files is common to all.
@pytest.mark.parametrize("name", sorted({name for _, name, _ in fields()}))
@pytest.mark.parametrize("content", [None, b"\xff\xfehunter2"], ids=["missing", "binary"])
def test_a_file_that_cannot_be_read_is_named(
    name: str, content: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = next(settings for settings, known, _ in fields() if known == name)
    path = tmp_path / MARK
    if content is not None:
        path.write_bytes(content)
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{name}_FILE", str(path))
    found = problems(settings)
    assert found[0].startswith(f"{name}_FILE: cannot read the file")
    assert MARK not in "".join(found)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        pytest.param(settings, name, id=f"{settings.__module__}-{name}")
        for settings, name, field in fields()
        if field.annotation is SecretStr
    ],
)
def test_a_secret_comes_from_a_file_and_is_never_printed(
    settings: type[ProcessSettings], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if name == "CROWN_WEB_PUSH_KEY":
        monkeypatch.setenv("CROWN_WEB_PUSH_CONTACT", "mailto:ops@crown.example")
    secret = SECRETS.get(name) or os.environ[name]
    monkeypatch.setenv(name, secret)
    by_itself = settings.load()
    monkeypatch.delenv(name)
    (tmp_path / "secret").write_text(f"{secret}\n")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    from_file = settings.load()
    assert from_file == by_itself
    field = next(one for one, info in settings.model_fields.items() if variable(info, one) == name)
    read = getattr(from_file, field).get_secret_value()
    assert read
    for shown in (repr(from_file), str(from_file), str(from_file.model_dump()), from_file.model_dump_json()):
        assert read not in shown
        assert secret not in shown


@pytest.mark.parametrize("content", [None, "", f"{MARK} = [", f'name = "{MARK}"'])
def test_feeds_that_cannot_be_read_are_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "feeds.toml"
    if content is not None:
        path.write_text(content)
    assert "CROWN_RELAY_FEEDS" in {variable(f, n) for n, f in RelaySettings.model_fields.items()}
    with pytest.raises(SettingsError) as error:
        feeds_file.read(path)
    assert all(problem.startswith("CROWN_RELAY_FEEDS") for problem in error.value.problems)
    assert MARK not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (MailboxSettings, "CROWN_MAILBOX_BIND", "192.0.2.1"),
        (MailboxSettings, "CROWN_MAILBOX_SMTP_PORT", MARK),
        (MailboxSettings, "CROWN_MAILBOX_HTTP_PORT", "65536"),
        (MailboxSettings, "CROWN_MAILBOX_PIPELINING", MARK),
        (MailboxSettings, "CROWN_MAILBOX_USER", MARK),
        (MailboxSettings, "CROWN_MAILBOX_PASSWORD_FILE", f"/no/such/{MARK}"),
        (SandboxSettings, "CROWN_SANDBOX_BIND", MARK),
        (SandboxSettings, "CROWN_SANDBOX_PORT", "-1"),
        (SandboxSettings, "CROWN_SANDBOX_CALLBACKS", MARK),
        (SandboxSettings, "CROWN_SANDBOX_SENDGRID_KEY_FILE", f"/no/such/{MARK}"),
        (SandboxSettings, "CROWN_SANDBOX_TWILIO_KEY_FILE", f"/no/such/{MARK}"),
        (SandboxSettings, "CROWN_SANDBOX_SNS_KEY_FILE", f"/no/such/{MARK}"),
    ],
)
def test_the_stacks_own_processes_say_the_same(
    settings: Any, name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        stack_environment.load(settings)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(name)
    assert said.count("\n") == 1
    assert MARK not in said
