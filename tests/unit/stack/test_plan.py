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


def test_the_suite_s_own_filter_runs_where_it_is_asked_for(tmp_path: Path) -> None:
    whole = made(tmp_path, CROWN_STACK_FILTER="reference").processes
    assert set(whole) == {*plan.NAMES, "ingest-filter"}
    for name in ("ingest-dispatch", "ingest-dispatch-critical"):
        assert whole[name].environment["CROWN_FILTER_ADDRESS"] == whole["ingest-filter"].address
    assert "CROWN_FILTER_ADDRESS" not in whole["ingest-api"].environment
    # Nothing hangs on it.
    assert not [name for name, process in whole.items() if "ingest-filter" in process.needs]
    assert "ingest-filter" not in whole["ingest-api"].environment["CROWN_PEERS"]


def test_no_filter_without_a_word_about_it(tmp_path: Path) -> None:
    assert "CROWN_FILTER_ADDRESS" not in made(tmp_path).processes["ingest-dispatch"].environment
    with pytest.raises(StackError, match="ingest-filter runs only where CROWN_STACK_FILTER is reference"):
        made(tmp_path, "ingest-filter")
    with pytest.raises(StackError, match="it must be reference or be left out"):
        made(tmp_path, CROWN_STACK_FILTER="mine")


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


def test_a_role_that_is_scaled_runs_several_times(tmp_path: Path) -> None:
    whole = made(tmp_path, CROWN_STACK_SCALE="email=2,realtime=3")
    assert [name for name in whole.processes if name.startswith("email")] == ["email", "email-2"]
    one, two = (whole.processes[name] for name in ("email", "email-2"))
    assert (one.command, one.needs) == (two.command, two.needs)
    differs = {name for name in one.environment if one.environment[name] != two.environment[name]}
    assert differs == {"CROWN_GRPC_PORT", "CROWN_METRICS_PORT"}
    assert one.environment.keys() == two.environment.keys()
    third = whole.processes["realtime-3"]
    assert third.environment["CROWN_WEBSOCKET_PORT"] == str(third.ports["realtime-3 websocket"])
    # Readiness and the gateway know all of them.
    peers = dict(
        peer.split("=") for peer in whole.processes["ingest-api"].environment["CROWN_PEERS"].split(",")
    )
    assert peers["email-2"] == two.address
    assert peers["realtime-3"] == third.address
    assert list(made(tmp_path).processes) == list(plan.NAMES)


def test_a_scaled_role_comes_with_all_its_processes(tmp_path: Path) -> None:
    found = made(tmp_path, "push", CROWN_STACK_SCALE="push=2,email=2").processes
    assert list(found) == ["mongod", "nats", "valkey", "sandbox", "push", "push-2"]


def test_the_ingest_api_can_be_scaled_and_knows_its_kin(tmp_path: Path) -> None:
    found = made(tmp_path, CROWN_STACK_SCALE="ingest-api=2").processes
    for name, kin in (("ingest-api", "ingest-api-2"), ("ingest-api-2", "ingest-api")):
        peers = [peer.partition("=")[0] for peer in found[name].environment["CROWN_PEERS"].split(",")]
        assert kin in peers
        assert name not in peers


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("email", "role=number"),
        ("email=0", "from 1 to 8"),
        ("email=9", "from 1 to 8"),
        ("email=two", "role=number"),
        ("email=2,email=3", "twice"),
        ("mongod=2", "no service is called that; there are ingest-api"),
        ("realtime-relay=2", "cannot be scaled"),
        ("ingest-filter=2", "cannot be scaled"),
    ],
)
def test_a_scale_that_makes_no_sense_says_why(tmp_path: Path, scale: str, words: str) -> None:
    with pytest.raises(StackError, match=words):
        made(tmp_path, CROWN_STACK_SCALE=scale)
