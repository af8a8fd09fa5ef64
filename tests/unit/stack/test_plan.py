"""What runs, in which order, and what is left out because it runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack import plan
from stack.errors import StackError
from stack.process import layers
from stack.settings import Settings


def made(tmp_path: Path, *only: str, **given: str) -> plan.Plan:
    return plan.make(Settings.read({"CROWN_STACK_HOME": str(tmp_path), **given}), only)


def test_servers_come_first_and_the_gateway_last(tmp_path: Path) -> None:
    assert layers(made(tmp_path).processes) == [
        ["mongod", "nats", "valkey", "mailbox", "sandbox"],
        [
            "ingest-api",
            "ingest-dispatch-critical",
            "ingest-dispatch",
            "ingest-record",
            "ingest-webhook",
            "email",
            "push",
            "sms",
            "realtime",
        ],
        ["gateway"],
    ]


def test_a_process_brings_what_it_needs_along(tmp_path: Path) -> None:
    assert list(made(tmp_path, "push").processes) == ["mongod", "nats", "valkey", "sandbox", "push"]


def test_the_gateway_needs_everything_but_what_only_stands_in_for_others() -> None:
    assert plan.wanted(["gateway"], {}) == plan.NAMES


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(StackError, match=r"no process is called redis: there are mongod, nats"):
        plan.wanted(["redis"], {})


def test_the_relay_runs_where_there_are_feeds(tmp_path: Path) -> None:
    feeds = str(tmp_path / "feeds.toml")
    whole = made(tmp_path, CROWN_RELAY_FEEDS=feeds).processes
    assert list(whole) == [*plan.NAMES, "realtime-relay"]
    assert set(layers(whole)[-1]) == {"realtime-relay", "gateway"}
    alone = made(tmp_path, "realtime-relay", CROWN_RELAY_FEEDS=feeds).processes
    assert list(alone) == ["mongod", "nats", "valkey", "ingest-api", "realtime-relay"]
    # The gateway and readiness do not hang on it.
    assert "realtime-relay" not in whole["gateway"].needs
    assert "realtime-relay" not in whole["ingest-api"].environment["CROWN_PEERS"]


def test_the_relay_does_not_run_without_feeds(tmp_path: Path) -> None:
    assert list(made(tmp_path, CROWN_RELAY_FEEDS="").processes) == list(plan.NAMES)
    with pytest.raises(StackError, match="realtime-relay runs only where CROWN_RELAY_FEEDS names a file"):
        made(tmp_path, "realtime-relay")


@pytest.mark.parametrize(
    ("variable", "value", "server", "shown"),
    [
        ("NATS_URL", "nats://a:4222,nats://b:4222", "nats", "a:4222,b:4222"),
        ("DATABASE_URL", "mongodb://me:secret@db:27017/crown?replicaSet=rs", "mongod", "db:27017/crown"),
        ("REDIS_HOST", "cache", "valkey", "cache"),
        ("REDIS_HOST", "redis://me:secret@cache:6379/0", "valkey", "cache:6379/0"),
        ("SMTP_HOST", "smtp.example.com:587", "mailbox", "smtp.example.com:587"),
        ("DATABASE_URL_FILE", "/run/secrets/database", "mongod", "named in a file"),
    ],
)
def test_an_address_replaces_the_server(
    tmp_path: Path, variable: str, value: str, server: str, shown: str
) -> None:
    result = made(tmp_path, **{variable: value})
    assert server not in result.processes
    assert result.external == {server: shown}


def test_nothing_external_without_a_variable(tmp_path: Path) -> None:
    assert made(tmp_path, NATS_URL="").external == {}


def test_no_secret_stands_in_an_argument_or_a_variable(tmp_path: Path) -> None:
    result = made(tmp_path, CROWN_RELAY_FEEDS="/etc/crown/feeds.toml")
    kept = [path.read_text().strip() for path in result.secrets.folder.iterdir() if path.name != "jwks.json"]
    seen = " ".join(
        text
        for process in result.processes.values()
        for text in (*process.command, *process.environment.values())
    )
    assert len(kept) > 20
    assert not [secret for secret in kept if secret in seen]
