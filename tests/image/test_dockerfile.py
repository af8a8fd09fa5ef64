"""The Dockerfile and compose.yaml against the code: what they copy, run, open and set is there."""

from __future__ import annotations

import ast
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from crown.settings import ProcessSettings, variable
from services.ingest.settings import IngestSettings
from stack import elsewhere
from stack.ports import DEFAULT_BASE, Ports
from stack.settings import Settings
from tests.image import dockerfile

ROOT = dockerfile.ROOT
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
# What compose.yaml may say of a service; a word that is not here is a slip or wants a look.
WORDS = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init",
    "network_mode", "ports", "read_only", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_and_what_builds_it_is_copied() -> None:
    packages = project()["tool"]["setuptools"]["packages"]["find"]["include"]
    held = set(dockerfile.copied())
    assert {name.removesuffix("*") for name in packages} <= held
    assert {"pyproject.toml", project()["project"]["readme"], *project()["project"]["license-files"]} <= held


def test_what_is_copied_is_sent_to_the_engine() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert lines[0] == "*", "what is not named stays out, secrets and .git among it"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert sent == {*dockerfile.copied(), "requirements"}


def test_our_modules_import_nothing_that_is_not_copied() -> None:
    tops = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"tests", "tools", "bench"}
    outside = tops - set(dockerfile.copied())
    for package in ("crown", "gateway", "services", "stack"):
        for path in (ROOT / package).rglob("*.py"):
            found = {name.partition(".")[0] for name in imported(path)}
            assert not found & outside, path


def imported(path: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return plain + [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]


def test_every_package_comes_by_its_hash() -> None:
    installs = [part for run in dockerfile.of("RUN") for part in re.split(r"&&", run) if "pip" in part]
    from_outside = [part for part in installs if "install" in part and ".whl" not in part]
    assert from_outside
    for part in from_outside:
        assert "--require-hashes" in part, part
        for lock in re.findall(r"-r (\S+)", part):
            text = (ROOT / lock).read_text(encoding="utf-8")
            pins = re.findall(r"^\S+==\S+ \\\n    --hash=sha256:", text, re.M)
            assert len(pins) == len(re.findall(r"^[A-Za-z0-9]", text, re.M)) > 0, lock


def test_it_runs_as_nobody_in_particular() -> None:
    assert dockerfile.of("USER") == ["10001"]
    (made,) = [run for run in dockerfile.of("RUN") if "useradd" in run]
    assert "--uid 10001" in made
    home = dockerfile.variables()["CROWN_STACK_HOME"]
    # All that is written lies there; the root may be read-only.
    assert dockerfile.of("VOLUME") == [home]
    assert f"--owner=crown {home}" in made


def test_the_port_that_it_opens_is_the_gateways() -> None:
    settings = Settings.read(dockerfile.variables())
    assert dockerfile.of("EXPOSE") == [str(Ports.at(DEFAULT_BASE).gateway)] == [str(settings.ports.gateway)]
    assert settings.gateway_host == "0.0.0.0"


def test_the_default_command_is_one_of_the_project() -> None:
    assert dockerfile.command()[0] in project()["project"]["scripts"]


def test_no_secret_is_built_in() -> None:
    assert not [name for name in dockerfile.variables() if re.search("KEY|TOKEN|PASSWORD|SECRET", name)]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_compose_says_nothing_unknown(name: str) -> None:
    assert set(COMPOSE["services"][name]) <= WORDS


def test_compose_names_the_servers_where_they_are() -> None:
    service = COMPOSE["services"]["crown"]
    given = service["environment"]
    found = elsewhere.addresses(given)
    assert {server: address.partition(":")[0].partition("/")[0] for server, address in found.items()} == {
        "mongod": "mongo",
        "nats": "nats",
        "valkey": "valkey",
    }
    assert set(service["depends_on"]) == {"founding", "mongo", "nats", "valkey"}
    read = {variable(field, name) for name, field in IngestSettings.model_fields.items()}
    assert set(given) <= read | {"CROWN_RELAY_FEEDS", "CROWN_STACK_USERS"}


def test_compose_waits_for_what_serves_or_has_ended() -> None:
    for service in COMPOSE["services"].values():
        for name, condition in service.get("depends_on", {}).items():
            serves = "healthcheck" in COMPOSE["services"][name]
            wanted = "service_healthy" if serves else "service_completed_successfully"
            assert condition == {"condition": wanted}, name


def test_compose_runs_the_image_as_it_is_meant() -> None:
    service = COMPOSE["services"]["crown"]
    assert service["build"] == "."
    assert service["ports"] == ["3005:3005"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    (volume,) = service["volumes"]
    assert volume.partition(":")[2] == dockerfile.of("VOLUME")[0]
    # Longer than what a process gets, which is more than the services' own grace.
    assert (
        int(service["stop_grace_period"].removesuffix("s")) > ProcessSettings.model_fields["grace_s"].default
    )


def test_compose_declares_what_it_uses() -> None:
    used = {
        volume.partition(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", ())
    }
    assert used == set(COMPOSE["volumes"])
    assert "configs" not in COMPOSE


def test_images_of_others_have_a_version() -> None:
    images = [service["image"] for service in COMPOSE["services"].values() if "image" in service]
    bases = [rest.partition("=")[2] for rest in dockerfile.of("ARG")]
    assert all(fnmatch(image, "*:[0-9]*") for image in (*images, *bases))
