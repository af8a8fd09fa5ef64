"""How the servers are configured, and how their binaries are made to run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stack import rights
from stack.errors import StackError
from stack.layout import Layout
from stack.secrets import SERVICES, USERS, Secrets
from stack.servers import binary, envoy, mongod, nats, valkey
from stack.settings import Settings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    return layout


def test_nats_syncs_always_and_lets_nobody_in_without_a_password(layout: Layout) -> None:
    text = nats.configure(
        Secrets(layout.secrets), str(layout.data("nats")), "127.0.0.1:3022", "127.0.0.1:3023"
    )
    assert "sync_interval: always" in text
    assert 'http: "127.0.0.1:3023"' in text
    assert "no_auth_user" not in text
    assert text.count('"password"') == len(USERS)
    assert text.count('"permissions"') == len(SERVICES)


def test_valkey_knows_its_services_and_no_stranger(tmp_path: Path) -> None:
    lines = valkey.access_list(Secrets(tmp_path)).splitlines()
    assert lines[0] == "user default off"
    assert [line.split()[1] for line in lines[1:]] == [*rights.VALKEY, "operator"]
    assert all(" resetchannels -@all ~crown:" in line for line in lines[1:-1])


def test_the_operator_of_mongod_is_known_to_the_whole_server(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    assert mongod.url(secrets, "email", 3017).endswith("authSource=crown")
    assert mongod.url(secrets, "operator", 3017).endswith("authSource=admin")


def test_a_binary_without_its_run_bit_gets_it(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.write_text("")
    program.chmod(0o644)
    assert binary.runnable(program, tmp_path / "spare") == program
    assert os.access(program, os.X_OK)


def test_a_binary_that_is_not_ours_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, spare = tmp_path / "mongod", tmp_path / "spare"
    program.write_text("program")
    program.chmod(0o644)
    change = Path.chmod

    def refuse(path: Path, mode: int) -> None:
        if path == program:
            raise PermissionError
        change(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse)
    assert binary.runnable(program, spare) == spare
    assert (spare.read_text(), os.access(spare, os.X_OK)) == ("program", True)
    assert not os.access(program, os.X_OK)


def test_a_missing_binary_says_how_to_get_it() -> None:
    with pytest.raises(StackError, match="make setup"):
        binary.in_package("stack", "nowhere")
    with pytest.raises(StackError, match="make setup"):
        binary.in_scripts("no-such-server")


@pytest.mark.parametrize(
    ("jwks", "variable"), [("/etc/jwks.json", "JWKS_PATH"), ("http://auth/jwks.json", "JWKS_URL")]
)
def test_the_gateway_reads_keys_from_a_file_or_an_address(jwks: str, variable: str) -> None:
    found = envoy.variables(Settings.read({}), jwks, "auth", "crown")
    assert {name: value for name, value in found.items() if name.startswith("JWKS")} == {variable: jwks}


def test_the_gateway_is_told_what_bounds_calls_without_a_token() -> None:
    given = {"GATEWAY_OPEN_RATE": "0", "GATEWAY_CALLBACK_RATE": "5", "GATEWAY_TRUSTED_HOPS": "1"}
    found = envoy.variables(Settings.read(given), "/etc/jwks.json", "auth", "crown")
    assert given.items() <= found.items()
