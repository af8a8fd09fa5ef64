"""The wheel holds all that runs: every module and every file that a module reads, and nothing of the tests."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("buf", "crown", "gateway", "services", "stack")

# Imports all but what runs when it is imported.
IMPORT_ALL = f"""
import importlib, pkgutil, sys
for name in {PACKAGES!r}:
    package = importlib.import_module(name)
    assert all(path.startswith(sys.prefix) for path in package.__path__), package.__path__
    for module in pkgutil.walk_packages(package.__path__, f"{{name}}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
"""

# Where a process without any setting ends, by what it says.
ENTRIES = (
    ("services.ingest", "api", "NATS_URL: is required"),
    ("services.ingest", "dispatch", "NATS_URL: is required"),
    ("services.ingest", "record", "NATS_URL: is required"),
    ("services.ingest", "webhook", "NATS_URL: is required"),
    ("services.ingest", "filter", "CROWN_JWKS: is required"),
    ("services.email", "", "NATS_URL: is required"),
    ("services.push", "", "NATS_URL: is required"),
    ("services.sms", "", "NATS_URL: is required"),
    ("services.realtime", "", "NATS_URL: is required"),
    ("services.realtime.relay", "", "CROWN_RELAY_FEEDS: is required"),
)


def test_every_file_of_the_packages_is_in_it(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PACKAGES],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    held = set(zipfile.ZipFile(wheel).namelist())
    assert sorted(set(listed) - held) == []


def test_nothing_else_is_in_it(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_every_module_runs_on_the_locked_packages_alone(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(environment, tmp_path, "python", "-W", "ignore", "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr[-2_000:]


@pytest.mark.parametrize(("module", "role", "complaint"), ENTRIES)
def test_a_role_without_settings_says_which(
    module: str, role: str, complaint: str, environment: dict[str, str], tmp_path: Path
) -> None:
    done = run(environment, tmp_path, "python", "-m", module, *filter(None, [role]), limit_s=20)
    assert done.returncode == 2, done.stderr[-2_000:]
    assert complaint in done.stderr


def test_the_command_teaches(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(environment, tmp_path, "crown", "--help")
    assert (done.returncode, "Start the suite" in done.stdout) == (0, True), done.stderr[-2_000:]


def run(
    environment: dict[str, str], folder: Path, *command: str, limit_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Far from the source tree."""
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=limit_s
    )
