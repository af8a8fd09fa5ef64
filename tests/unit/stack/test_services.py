"""The settings that each service process gets: its own addresses and credentials, and the caller's wishes."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest
import time_machine

from crown.token import LIFE_MOST_S
from stack import services
from stack.errors import StackError
from stack.secrets import Secrets
from stack.services import ROLES
from stack.settings import Settings

NAMES = [role.name for role in ROLES]


def environment(tmp_path: Path, name: str, **given: str) -> dict[str, str]:
    settings = Settings.read({"CROWN_STACK_PORT_BASE": "13000", **given})
    role = next(role for role in (*ROLES, services.RELAY) if role.name == name)
    return services.environment(settings, Secrets(tmp_path), role)


def read(environment: dict[str, str], name: str) -> str:
    return Path(environment[f"{name}_FILE"]).read_text()


def user_of(name: str) -> str:
    return next(role.user for role in ROLES if role.name == name)


@pytest.mark.parametrize("name", NAMES)
def test_every_service_knows_where_it_listens_and_whom_it_reaches(tmp_path: Path, name: str) -> None:
    user = user_of(name)
    found = environment(tmp_path, name)
    assert found["CROWN_BIND"] == "127.0.0.1"
    assert int(found["CROWN_METRICS_PORT"]) - int(found["CROWN_GRPC_PORT"]) == 20
    assert (found["NATS_URL"], found["NATS_USER"]) == ("nats://127.0.0.1:13022", user)
    assert read(found, "NATS_PASSWORD") == (tmp_path / f"nats-{user}").read_text()
    assert read(found, "DATABASE_URL").startswith(f"mongodb://{user}:")
    assert "@127.0.0.1:13017/crown?replicaSet=crown" in read(found, "DATABASE_URL")
    assert read(found, "REDIS_HOST").startswith(f"redis://{user}:")
    assert (found["CROWN_JWKS"], found["CROWN_JWT_ISSUER"]) == (str(tmp_path / "jwks.json"), "crown-stack")
    assert len(read(found, "CROWN_DATA_KEY")) == 44


@pytest.mark.parametrize("name", NAMES)
def test_no_service_gets_the_credentials_of_another(tmp_path: Path, name: str) -> None:
    user = user_of(name)
    own = {value for key, value in environment(tmp_path, name).items() if key.endswith("_FILE")}
    others = {other for other in services.ROLES if other.user != user}
    for other in others:
        shared = own & {v for k, v in environment(tmp_path, other.name).items() if k.endswith("_FILE")}
        assert shared == {str(tmp_path / "data-key")}


def test_the_roles_of_ingest_differ_in_their_lanes(tmp_path: Path) -> None:
    def lanes(name: str) -> str | None:
        return environment(tmp_path, name).get("CROWN_DISPATCH_LANES")

    assert lanes("ingest-dispatch-critical") == "critical"
    assert lanes("ingest-dispatch") == "normal,bulk"
    assert lanes("ingest-api") is None


def test_the_ingest_api_knows_all_its_peers(tmp_path: Path) -> None:
    peers = environment(tmp_path, "ingest-api")["CROWN_PEERS"].split(",")
    assert len(peers) == len(NAMES) - 1
    assert "email=127.0.0.1:13034" in peers


def test_the_caller_s_settings_reach_every_service_but_ports_stay_the_stack_s(tmp_path: Path) -> None:
    found = environment(
        tmp_path, "email", CROWN_LOG_LEVEL="DEBUG", CROWN_STREAM_MAX_BYTES="1048576", CROWN_GRPC_PORT="1"
    )
    assert (found["CROWN_LOG_LEVEL"], found["CROWN_STREAM_MAX_BYTES"]) == ("DEBUG", "1048576")
    assert found["CROWN_GRPC_PORT"] == "13034"
    assert not [name for name in found if name.startswith("CROWN_STACK_")]
    assert "CROWN_SANDBOX_CALLBACKS" not in environment(tmp_path, "email", CROWN_SANDBOX_CALLBACKS="off")


def test_other_servers_are_handed_on_with_their_secrets_in_files(tmp_path: Path) -> None:
    found = environment(
        tmp_path,
        "email",
        NATS_URL="nats://bus:4222",
        NATS_USER="me",
        NATS_PASSWORD="hush",
        DATABASE_URL="mongodb://me:hush@db/crown",
        REDIS_HOST_FILE="/run/secrets/redis",
    )
    assert (found["NATS_URL"], found["NATS_USER"], read(found, "NATS_PASSWORD")) == (
        "nats://bus:4222",
        "me",
        "hush",
    )
    assert read(found, "DATABASE_URL") == "mongodb://me:hush@db/crown"
    assert found["REDIS_HOST_FILE"] == "/run/secrets/redis"
    assert "hush" not in " ".join(found.values())


def test_another_issuer_is_handed_on(tmp_path: Path) -> None:
    found = environment(tmp_path, "sms", CROWN_JWKS="https://auth/jwks", CROWN_JWT_ISSUER="auth")
    assert (found["CROWN_JWKS"], found["CROWN_JWT_ISSUER"]) == ("https://auth/jwks", "auth")


def test_the_relay_knows_ingest_its_feeds_and_its_token_and_nothing_else(tmp_path: Path) -> None:
    found = environment(tmp_path, "realtime-relay", CROWN_RELAY_FEEDS="/feeds.toml", CROWN_LOG_LEVEL="DEBUG")
    assert found == {
        "CROWN_BIND": "127.0.0.1",
        "CROWN_GRPC_PORT": "13038",
        "CROWN_METRICS_PORT": "13058",
        "CROWN_LOG_LEVEL": "DEBUG",
        "CROWN_RELAY_FEEDS": "/feeds.toml",
        "CROWN_INGEST_ADDRESS": "127.0.0.1:13030",
        "CROWN_RELAY_TOKEN_FILE": str(tmp_path / "relay-token"),
    }
    claims = jwt.decode(read(found, "CROWN_RELAY_TOKEN"), options={"verify_signature": False})
    assert (claims["use"], claims["sub"], claims["scope"]) == ("service", "relay", "notifications.send")


def test_the_own_filter_reaches_neither_bus_nor_stores(tmp_path: Path) -> None:
    settings = Settings.read({"CROWN_STACK_FILTER": "reference"})
    found = services.environment(settings, Secrets(tmp_path), services.FILTER)
    assert not [name for name in found if name.startswith(("NATS", "DATABASE", "REDIS", "CROWN_DATA"))]


def test_what_prepares_has_a_user_of_its_own(tmp_path: Path) -> None:
    found = services.preparation(Settings.read({}), Secrets(tmp_path))
    assert found.environment["NATS_USER"] == "prepare"
    assert Path(found.environment["DATABASE_URL_FILE"]).read_text().startswith("mongodb://prepare:")


def test_dispatch_is_told_of_the_caller_s_filter(tmp_path: Path) -> None:
    given = {"CROWN_FILTER_ADDRESS": "filter:50051", "CROWN_FILTER_TOKEN": "hush"}
    found = environment(tmp_path, "ingest-dispatch", **given)
    assert found["CROWN_FILTER_ADDRESS"] == "filter:50051"
    assert read(found, "CROWN_FILTER_TOKEN") == "hush"
    assert not [one for one in environment(tmp_path, "email", **given) if "FILTER" in one]


def test_the_token_for_the_filter_is_good_for_nothing_else(tmp_path: Path) -> None:
    found = environment(tmp_path, "ingest-dispatch", CROWN_STACK_FILTER="reference")
    claims = jwt.decode(read(found, "CROWN_FILTER_TOKEN"), options={"verify_signature": False})
    assert (claims["use"], claims["sub"], claims["scope"]) == ("service", "dispatch", "notifications.filter")


def test_the_relay_s_own_token_goes_to_nobody_else(tmp_path: Path) -> None:
    given = {"CROWN_RELAY_FEEDS": "/feeds.toml", "CROWN_RELAY_TOKEN": "hush"}
    assert read(environment(tmp_path, "realtime-relay", **given), "CROWN_RELAY_TOKEN") == "hush"
    for name in NAMES:
        assert not [one for one in environment(tmp_path, name, **given) if "RELAY" in one]


def test_parts_speak_in_the_clear_unless_the_stack_is_told_otherwise(tmp_path: Path) -> None:
    for given in ({}, {"CROWN_STACK_MTLS": "off"}, {"CROWN_TLS_FOLDER": "/elsewhere"}):
        assert not [name for name in environment(tmp_path, "email", **given) if "TLS" in name]
    with pytest.raises(StackError, match="CROWN_STACK_MTLS is neither on nor off"):
        environment(tmp_path, "email", CROWN_STACK_MTLS="yes")


@pytest.mark.parametrize(
    ("name", "callers"),
    [
        *((name, "gateway,operator") for name in ("email", "push", "sms", "realtime")),
        ("ingest-api", "gateway,realtime-relay,operator"),
        *((name, "operator") for name in NAMES if name.startswith("ingest-") and name != "ingest-api"),
    ],
)
def test_each_is_told_who_it_is_and_who_may_call(tmp_path: Path, name: str, callers: str) -> None:
    found = environment(tmp_path, name, CROWN_STACK_MTLS="on")
    assert found["CROWN_TLS_CALLERS"] == callers
    assert found["CROWN_TLS_FOLDER"] == str(tmp_path / "tls" / name)
    assert (tmp_path / "tls" / name / "tls.crt").exists()


def test_processes_of_one_service_are_called_the_same(tmp_path: Path) -> None:
    given = {"CROWN_STACK_PORT_BASE": "13000", "CROWN_STACK_MTLS": "on", "CROWN_STACK_SCALE": "email=2"}
    settings = Settings.read(given)
    (role,) = (role for role in services.roles(settings.given) if role.name == "email-2")
    found = services.environment(settings, Secrets(tmp_path), role)
    assert found["CROWN_TLS_FOLDER"] == str(tmp_path / "tls" / "email")


def test_the_tokens_that_the_stack_shows_are_renewed(tmp_path: Path) -> None:
    given = {"CROWN_RELAY_FEEDS": "/feeds.toml", "CROWN_STACK_FILTER": "reference"}
    settings, secrets = Settings.read({"CROWN_STACK_PORT_BASE": "13000", **given}), Secrets(tmp_path)
    shown = (
        (environment(tmp_path, "realtime-relay", **given), "CROWN_RELAY_TOKEN"),
        (environment(tmp_path, "ingest-dispatch", **given), "CROWN_FILTER_TOKEN"),
    )
    for process, name in shown:
        claims = jwt.decode(read(process, name), options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == LIFE_MOST_S
    before = [read(process, name) for process, name in shown]
    with time_machine.travel(time.time() + 600, tick=False):
        services.renew_tokens(settings, secrets)
    assert not set(before) & {read(process, name) for process, name in shown}


def test_servers_that_know_our_users_are_shown_each_process_its_own(tmp_path: Path) -> None:
    given = {
        "CROWN_STACK_USERS": "on",
        "NATS_URL": "nats://bus:4222",
        "DATABASE_URL": "mongodb://db:27017/crown",
        "REDIS_HOST": "redis://cache:6379/0",
    }
    found = environment(tmp_path, "email", **given)
    assert (found["NATS_URL"], found["NATS_USER"]) == ("nats://bus:4222", "email")
    assert read(found, "NATS_PASSWORD") == (tmp_path / "nats-email").read_text()
    password = (tmp_path / "mongod-email").read_text()
    assert read(found, "DATABASE_URL") == f"mongodb://email:{password}@db:27017/crown?authSource=crown"
    password = (tmp_path / "valkey-email").read_text()
    assert read(found, "REDIS_HOST") == f"redis://email:{password}@cache:6379/0"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("NATS_URL", "nats://me:hush@bus:4222"),
        ("DATABASE_URL", "mongodb://me:hush@db/crown"),
        ("REDIS_HOST", "redis://me:hush@cache:6379/0"),
    ],
)
def test_an_address_that_names_a_user_gets_no_second_one(tmp_path: Path, name: str, address: str) -> None:
    with pytest.raises(StackError, match=f"{name} names a user") as refused:
        environment(tmp_path, "email", CROWN_STACK_USERS="on", **{name: address})
    assert "hush" not in str(refused.value)
