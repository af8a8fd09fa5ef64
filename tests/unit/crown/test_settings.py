"""Settings from the environment: each variable, each secret from a file, and problems without values."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError

from crown.settings import Settings, SettingsError, exit_with, redis_url

KEY = base64.b64encode(bytes(range(32))).decode()
ROOT = Path(__file__).resolve().parents[3]

NEEDED = {
    "NATS_URL": "nats://bus:4222",
    "DATABASE_URL": "mongodb://me:hunter2@db:27017/crown?replicaSet=crown",
    "REDIS_HOST": "cache",
    "CROWN_JWKS": "https://auth.example/jwks.json",
    "CROWN_JWT_ISSUER": "crown-auth",
    "CROWN_DATA_KEY": KEY,
}


class TwoSecrets(Settings):
    """As a service's settings: one more secret, one more number."""

    api_key: SecretStr = Field(SecretStr(""), validation_alias="SMS_API_KEY")
    rate: int = Field(7, validation_alias="CROWN_RATE", ge=1)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with what is needed and nothing else that is read."""
    for name in list(os.environ):
        if name.startswith(("CROWN_", "NATS_", "DATABASE_", "REDIS_", "SMS_")):
            monkeypatch.delenv(name)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def problems(kind: type[Settings] = Settings) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        kind.load()
    return sorted(caught.value.problems)


def test_the_seed_of_a_deployment_is_small(environment: pytest.MonkeyPatch) -> None:
    found = Settings.load()
    assert found.nats_url == "nats://bus:4222"
    assert found.database_url.get_secret_value() == NEEDED["DATABASE_URL"]
    assert found.redis_host.get_secret_value() == "redis://cache:6379/0"
    assert (found.jwks, found.jwt_issuer, found.jwt_audience) == (
        "https://auth.example/jwks.json",
        "crown-auth",
        "crown-notification",
    )
    assert (found.bind, found.grpc_port, found.metrics_port) == ("0.0.0.0", 50051, 9090)
    assert (found.grace_s, found.log_level, found.stream_max_bytes) == (10.0, "INFO", 1 << 30)
    assert (found.nats_user, found.nats_password.get_secret_value(), found.failpoint) == ("", "", "")


@pytest.mark.parametrize(
    ("name", "value", "field", "found"),
    [
        ("CROWN_BIND", "127.0.0.1", "bind", "127.0.0.1"),
        ("CROWN_GRPC_PORT", "65535", "grpc_port", 65535),
        ("CROWN_METRICS_PORT", "1", "metrics_port", 1),
        ("CROWN_GRACE_S", "0.5", "grace_s", 0.5),
        ("CROWN_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("CROWN_FAILPOINT", "place:/file", "failpoint", "place:/file"),
        ("NATS_URL", "nats://a:1, tls://b:2", "nats_url", "nats://a:1, tls://b:2"),
        ("NATS_USER", "ingest", "nats_user", "ingest"),
        ("CROWN_JWKS", "/run/jwks.json", "jwks", "/run/jwks.json"),
        ("CROWN_JWT_ISSUER", "me", "jwt_issuer", "me"),
        ("CROWN_JWT_AUDIENCE", "us", "jwt_audience", "us"),
        ("CROWN_STREAM_MAX_BYTES", "65536", "stream_max_bytes", 65536),
        ("CROWN_JWT_AUDIENCE", "", "jwt_audience", "crown-notification"),
    ],
)
def test_each_variable_sets_its_field(
    environment: pytest.MonkeyPatch, name: str, value: str, field: str, found: object
) -> None:
    environment.setenv(name, value)
    assert getattr(Settings.load(), field) == found


@pytest.mark.parametrize(
    ("name", "field", "value", "found"),
    [
        ("NATS_PASSWORD", "nats_password", "hunter2", "hunter2"),
        ("DATABASE_URL", "database_url", "mongodb://me:pw@db/crown", "mongodb://me:pw@db/crown"),
        ("REDIS_HOST", "redis_host", "redis://me:pw@cache:7000/0", "redis://me:pw@cache:7000/0"),
        ("CROWN_DATA_KEY", "data_key", KEY, KEY),
        ("SMS_API_KEY", "api_key", "AC1:token", "AC1:token"),
        (
            "CROWN_SENTRY_DSN",
            "sentry_dsn",
            "https://k3y@sentry.example.org/42",
            "https://k3y@sentry.example.org/42",
        ),
    ],
)
def test_each_secret_comes_as_the_variable_or_from_a_file(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str, field: str, value: str, found: str
) -> None:
    environment.setenv(name, value)
    assert getattr(TwoSecrets.load(), field).get_secret_value() == found
    assert value not in repr(TwoSecrets.load())

    environment.delenv(name)
    (tmp_path / "secret").write_text(f"  {value}\n")
    environment.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert getattr(TwoSecrets.load(), field).get_secret_value() == found


def test_the_variable_wins_over_the_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file")
    environment.setenv("NATS_PASSWORD_FILE", str(tmp_path / "secret"))
    environment.setenv("NATS_PASSWORD", "from the variable")
    assert Settings.load().nats_password.get_secret_value() == "from the variable"


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_needed_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    assert problems() == [f"{name}: is required"]
    environment.setenv(name, "")
    assert problems() == [f"{name}: is required"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("CROWN_GRPC_PORT", "0", "must be from 1 to 65535"),
        ("CROWN_GRPC_PORT", "65536", "must be from 1 to 65535"),
        (
            "CROWN_GRPC_PORT",
            "hunter2",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        ("CROWN_METRICS_PORT", "-1", "must be from 1 to 65535"),
        ("CROWN_GRACE_S", "-1", "Input should be greater than or equal to 0"),
        ("CROWN_GRACE_S", "nan", "Input should be a finite number"),
        (
            "CROWN_OTLP_ENDPOINT",
            "collector:4318",
            "must be http://host:port or https://host:port, without a path",
        ),
        (
            "CROWN_OTLP_ENDPOINT",
            "http://collector/v1/traces",
            "must be http://host:port or https://host:port, without a path",
        ),
        ("CROWN_OTLP_HEADERS", "token", "must be name=value, several separated by commas"),
        ("CROWN_TRACE_RATIO", "1.5", "Input should be less than or equal to 1"),
        ("CROWN_LOG_LEVEL", "LOUD", "must be DEBUG, INFO, WARNING or ERROR"),
        *(
            ("CROWN_SENTRY_DSN", dsn, "must be https://<key>@<host>/<project>")
            for dsn in (
                "sentry.example.org",
                "https://sentry.example.org/42",
                "https://key@host",
                "ftp://k@h/1",
            )
        ),
        ("CROWN_STREAM_MAX_BYTES", "1000", "Input should be greater than or equal to 65536"),
        ("NATS_URL", "hunter2:4222", "must be nats://host:port, several separated by commas"),
        ("NATS_URL", "nats://a:1,http://b:2", "must be nats://host:port, several separated by commas"),
        ("NATS_URL", "nats://a:hunter2", "must be nats://host:port, several separated by commas"),
        ("NATS_URL", "nats://", "must be nats://host:port, several separated by commas"),
        ("DATABASE_URL", "postgres://me:hunter2@db", "must be mongodb://… or mongodb+srv://…"),
        (
            "DATABASE_URL",
            "mongodb://me:hunter2@db:port/crown",
            "is not an address that MongoDB's driver takes",
        ),
        ("DATABASE_URL", "mongodb://me@x:hunter2@db/crown", "is not an address that MongoDB's driver takes"),
        ("DATABASE_URL", "mongodb://", "is not an address that MongoDB's driver takes"),
        ("DATABASE_URL", "mongodb://db/crown?replicaSet", "is not an address that MongoDB's driver takes"),
        ("REDIS_HOST", "http://me:hunter2@cache", "must be host, host:port or redis://…"),
        ("REDIS_HOST", "redis://me:hunter2@cache:port/0", "must be host, host:port or redis://…"),
        ("REDIS_HOST", "redis://me:hunter2@cache/zero", "must be host, host:port or redis://…"),
        ("REDIS_HOST", "redis://", "must be host, host:port or redis://…"),
        ("REDIS_HOST", "cache:hunter2", "must be host, host:port or redis://…"),
        ("REDIS_HOST", "cache:99999", "must be host, host:port or redis://…"),
        ("REDIS_HOST", ":6379", "must be host, host:port or redis://…"),
        ("CROWN_DATA_KEY", "hunter2", "must be 32 bytes in base64"),
        ("CROWN_DATA_KEY", base64.b64encode(b"hunter2" * 4).decode(), "must be 32 bytes in base64"),
        ("CROWN_DATA_KEY", "hunter2é" * 4, "must be 32 bytes in base64"),
        (
            "CROWN_DATA_KEY",
            base64.b64encode(b"hunter2!" * 4).decode(),
            "must be drawn at random: `openssl rand -base64 32`",
        ),
        ("CROWN_BIND", "hunter2", "must be an IP address of this machine, 0.0.0.0 for all"),
        ("CROWN_FAILPOINT", "hunter2", "must be place:path"),
        ("CROWN_JWKS", "ftp://auth.example/hunter2", "must be a path or an https address"),
    ],
)
def test_a_wrong_value_is_named_and_not_shown(
    environment: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    environment.setenv(name, value)
    assert problems() == [f"{name}: {problem}"]


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), (b"\xff\xfehunter2", "it is not text")],
)
def test_a_file_that_cannot_be_read_is_named(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    environment.delenv("DATABASE_URL")
    environment.setenv("DATABASE_URL_FILE", str(tmp_path / "secret"))
    assert problems() == [f"DATABASE_URL_FILE: cannot read the file ({why})"]


def test_all_problems_come_at_once(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("NATS_URL")
    environment.delenv("DATABASE_URL")
    environment.setenv("DATABASE_URL_FILE", str(tmp_path))
    environment.setenv("SMS_API_KEY_FILE", str(tmp_path / "none"))
    environment.setenv("CROWN_GRPC_PORT", "0")
    environment.setenv("CROWN_RATE", "0")
    environment.setenv("CROWN_LOG_LEVEL", "hunter2")
    found = problems(TwoSecrets)
    assert [problem.partition(":")[0] for problem in found] == [
        "CROWN_GRPC_PORT",
        "CROWN_LOG_LEVEL",
        "CROWN_RATE",
        "DATABASE_URL_FILE",
        "NATS_URL",
        "SMS_API_KEY_FILE",
    ]
    assert "hunter2" not in "".join(found)


def test_nor_does_the_library_s_own_error_show_a_value(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CROWN_LOG_LEVEL", "hunter2")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("cache", "redis://cache:6379/0"),
        ("cache:7000", "redis://cache:7000/0"),
        ("10.0.0.7:7000", "redis://10.0.0.7:7000/0"),
        ("redis://cache", "redis://cache"),
        ("rediss://me:pw@cache:7000/2", "rediss://me:pw@cache:7000/2"),
    ],
)
def test_the_cache_s_address_comes_in_three_forms(given: str, url: str) -> None:
    assert redis_url(given) == url


def test_the_end_is_told_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_with(SettingsError(["A: is required", "B: must be good"]))
    assert caught.value.code == 2
    assert capsys.readouterr().err == "wrong setting  A: is required\nwrong setting  B: must be good\n"


def test_a_process_with_wrong_settings_ends_at_once() -> None:
    """One real process: the way from the environment to the exit code."""
    environment = {
        **NEEDED,
        "PATH": os.environ["PATH"],
        "DATABASE_URL": "postgres://me:hunter2@db",
        "CROWN_DISPATCH_LANES": "fast",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "services.ingest", "api"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 2
    lines = sorted(ended.stderr.splitlines())
    assert [line.partition(":")[0] for line in lines] == [
        "wrong setting  CROWN_DISPATCH_LANES",
        "wrong setting  DATABASE_URL",
    ]
    assert "hunter2" not in ended.stderr + ended.stdout
