"""The servers of compose.yaml, started by its own commands: who shows no password is let in nowhere, each user does
what its table lists and nothing else, and the suite serves with what our container is told."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import rights, services
from stack.secrets import Secrets, read
from stack.settings import Settings
from tests.image import dockerfile
from tests.image.composed import SERVICES, Composed
from tests.image.test_default_command import DOWN_LIMIT_S, PORT_BASE, call, ready, until

# The matrix, here against the servers of compose.yaml.
from tests.integration.stack.test_rights import (  # noqa: F401
    test_a_script_does_not_get_around_the_list,
    test_a_user_administers_nothing,
    test_a_user_does_nothing_dangerous,
    test_a_user_does_with_collections_what_its_table_lists_and_nothing_else,
    test_a_user_gives_its_commands_on_its_keys_and_on_no_others,
    test_a_user_hears_what_its_table_lists_and_nothing_else,
    test_a_user_publishes_what_its_table_lists_and_nothing_else,
    test_mongod_runs_no_javascript,
    test_who_is_not_known_is_let_in_nowhere,
)

# Server -> the option by which it is told of its users, and the volume that they lie in.
TOLD = {
    "mongo": ("--keyFile", "mongod-users"),
    "nats": ("--config", "nats-users"),
    "valkey": ("--aclfile", "valkey-users"),
}
OURS = [name for name, service in SERVICES.items() if "build" in service]


@pytest.fixture(scope="module")
def stack(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("composed")
    given = dockerfile.variables()
    path = given["PATH"].replace("/opt/crown", str(image)).replace("$PATH", os.defpath)
    home = folder / "volumes" / "crown"
    own = {"PATH": path, "CROWN_STACK_HOME": str(home), "CROWN_STACK_PORT_BASE": str(PORT_BASE)}
    composed = Composed(folder, {**given, **own})
    try:
        composed.start()
        yield composed
    finally:
        composed.stop()


# -- What stands there


def test_every_server_of_others_is_told_of_its_users() -> None:
    assert {name for name in SERVICES if name not in OURS} == set(TOLD)
    for name, (option, volume) in TOLD.items():
        words = " ".join(SERVICES[name]["command"]).split()
        assert words.count(option) == 1, f"{name} lets in whoever comes"
        assert f"{volume}:/users:ro" in SERVICES[name]["volumes"]


def test_each_server_sees_its_own_passwords_alone() -> None:
    secret = {"crown", *(volume for _, volume in TOLD.values())}
    for name, (_, volume) in TOLD.items():
        seen = {one.partition(":")[0] for one in SERVICES[name]["volumes"]}
        assert seen & secret == {volume}, name
    writers = [one for one in OURS if {v.partition(":")[0] for v in SERVICES[one]["volumes"]} != {"crown"}]
    assert writers == ["users"]


def test_volumes_for_users_are_those_of_the_user_of_the_image() -> None:
    (made,) = [run for run in dockerfile.of("RUN") if "useradd" in run]
    owned = made.partition("--owner=crown ")[2].split()
    assert {one.partition(":")[2] for one in SERVICES["users"]["volumes"]} == set(owned)
    # What it wrote is for its user alone, which Valkey has to be, where it is not root.
    assert SERVICES["valkey"]["user"] == dockerfile.of("USER")[0]


def test_everything_of_ours_runs_without_rights() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_no_password_stands_there() -> None:
    text = (dockerfile.ROOT / "compose.yaml").read_text(encoding="utf-8")
    for address in (line for line in text.splitlines() if "://" in line):
        assert "@" not in address


@pytest.mark.parametrize("role", [role.name for role in services.ROLES])
def test_who_a_process_says_to_be_is_a_user_of_the_tables(role: str, tmp_path: Path) -> None:
    settings = Settings.read({**dockerfile.variables(), **SERVICES["crown"]["environment"]})
    (found,) = [one for one in services.ROLES if one.name == role]
    told = services.environment(settings, Secrets(tmp_path), found)
    assert (told["NATS_URL"], told["NATS_USER"]) == ("nats://nats:4222", found.user)
    assert found.user in rights.NATS
    database, cache = read(Path(told["DATABASE_URL_FILE"])), read(Path(told["REDIS_HOST_FILE"]))
    assert database.startswith(f"mongodb://{found.user}:")
    assert database.endswith("@mongo:27017/crown?replicaSet=crown&authSource=crown")
    assert found.user in rights.MONGODB
    assert cache.startswith(f"redis://{found.user}:")
    assert cache.endswith("@valkey")
    # Who keeps nothing there has no user there, and connects to nobody.
    assert (found.user in rights.VALKEY) is (found.user != "ingest-webhook")


# -- What it does


def test_what_a_server_is_told_has_every_user_and_no_password_of_another(stack: Composed) -> None:
    bus, store, cache = (stack.written(volume) for volume in ("nats-users", "mongod-users", "valkey-users"))
    assert (set(bus), set(store), set(cache)) == ({"nats.conf"}, {"member-key"}, {"users.acl"})
    for user in rights.NATS:
        password = read(stack.secrets.nats_password(user))
        assert f'"user": {json.dumps(user)}, "password": {json.dumps(password)}' in bus["nats.conf"]
        assert password not in cache["users.acl"] + store["member-key"]
    for user in rights.VALKEY:
        password = read(stack.secrets.valkey_password(user))
        digest = hashlib.sha256(password.encode()).hexdigest()
        assert f"user {user} on #{digest} " in cache["users.acl"]
        assert password not in cache["users.acl"] + bus["nats.conf"]


def test_what_is_written_is_for_its_owner_alone(stack: Composed) -> None:
    for _, volume in TOLD.values():
        for path in stack.volume(volume).iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_start_changes_no_password(stack: Composed) -> None:
    before = {volume: stack.written(volume) for _, volume in TOLD.values()}
    stack.once("users")
    stack.found()
    assert {volume: stack.written(volume) for _, volume in TOLD.values()} == before


def test_the_suite_serves_with_the_users_of_its_processes(stack: Composed, tmp_path: Path) -> None:
    log = tmp_path / "command.log"
    with log.open("wb") as output:
        command = subprocess.Popen(
            dockerfile.command(), env=stack.ours, cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        until(lambda: command.poll() is not None or ready())
        assert command.poll() is None, log.read_text()[-2_000:]
        token = subprocess.run(
            ["crown", "token", "--service", "feed"],
            env=stack.ours, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True,
        ).stdout.strip()  # fmt: skip
        order = {"user_id": "user123", "type": "in_app", "data": {"title": "Hello"}}
        sent = call("POST", "/api/v1/notifications", token, order)

        def settled() -> bool:
            told = call("GET", f"/api/v1/notifications/{sent['notification_id']}", token)
            return '"DELIVERED"' in json.dumps(told).upper()

        until(settled)
    finally:
        command.send_signal(signal.SIGTERM)
        status = command.wait(DOWN_LIMIT_S)
    assert status == 0, log.read_text()[-2_000:]
    logs = "".join(path.read_text(errors="replace") for path in stack.logs.glob("*.log"))
    assert "bus_forbidden" not in logs
    assert "not authorized on crown" not in logs
