"""The `crown` command as people and scripts call it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PORT_BASE = 13300


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    crown(tmp_path, "clean")


def crown(home: Path, *arguments: str, base: int = PORT_BASE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack.cli", *arguments],
        env={**os.environ, "CROWN_STACK_HOME": str(home), "CROWN_STACK_PORT_BASE": str(base)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_token_stands_alone_on_a_line(home: Path) -> None:
    result = crown(home, "token", "--user", "user123")
    assert result.returncode == 0
    assert result.stdout.count("\n") == 1
    assert result.stdout.strip().count(".") == 2


def test_a_token_for_nobody_is_refused_in_one_line(home: Path) -> None:
    result = crown(home, "token")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "crown: a token is for one of: a user, a service, an operator\n"


def test_a_stack_that_never_ran(home: Path) -> None:
    assert crown(home, "down").stdout == "the stack is not up\n"
    result = crown(home, "status", "--json")
    assert (result.returncode, json.loads(result.stdout)) == (3, [])


def test_a_life_from_up_to_clean(home: Path) -> None:
    up = crown(home, "up", "--only", "valkey,sandbox")
    assert up.returncode == 0, up.stderr
    assert "healthy" in up.stdout
    processes = {one["name"]: one for one in json.loads(crown(home, "status", "--json").stdout)}
    assert processes.keys() == {"valkey", "sandbox"}
    assert processes["valkey"]["address"] == f"127.0.0.1:{PORT_BASE + 79}"
    assert processes["valkey"]["health"] == "healthy"
    assert processes["valkey"].keys() >= {"name", "pid", "address", "health", "restarts", "since"}
    assert "Ready to accept connections" in crown(home, "logs", "valkey").stdout
    assert "supervisor | " in crown(home, "logs").stdout
    assert "its data stay" in crown(home, "down").stdout
    assert crown(home, "status").returncode == 3
    assert crown(home, "clean").returncode == 0
    assert list(home.iterdir()) == []


def test_a_taken_port_ends_with_one_line(home: Path) -> None:
    with socket.create_server(("127.0.0.1", PORT_BASE + 79)):
        result = crown(home, "up", "--only", "valkey")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"(pid {os.getpid()})" in result.stderr
    assert "CROWN_STACK_PORT_BASE" in result.stderr


def test_what_does_not_start_is_shown_with_its_log(home: Path) -> None:
    folder = home / str(PORT_BASE) / "data" / "mongod"
    folder.mkdir(parents=True)
    (folder / "storage.bson").write_text("no database")
    result = crown(home, "up", "--only", "mongod")
    assert result.returncode == 1
    assert "mongod | " in result.stderr
    assert result.stderr.splitlines()[-1].startswith("crown: mongod did not become healthy: ")


def test_a_wrong_base_names_its_variable(home: Path) -> None:
    result = crown(home, "status", base=80)
    assert result.returncode == 1
    assert result.stderr.startswith("crown: CROWN_STACK_PORT_BASE is 80")
