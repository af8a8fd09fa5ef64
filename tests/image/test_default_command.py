"""The default command, as the Dockerfile has it, with the packages that the image has: it needs three servers by
name, says which are missing, and with them the whole suite serves."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from stack.control import Stack
from stack.secrets import read
from tests.image import dockerfile

SERVERS_BASE = 25_100
PORT_BASE = 25_000
GATEWAY = PORT_BASE + 5
UP_LIMIT_S = 60.0
DOWN_LIMIT_S = 40.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(
        SERVERS_BASE, tmp_path_factory.mktemp("servers"), only=("mongod", "nats", "valkey")
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ["DATABASE_URL", "NATS_URL", "REDIS_HOST"]),
        ({"NATS_URL": "nats://127.0.0.1:1"}, ["DATABASE_URL", "REDIS_HOST"]),
        ({"DATABASE_URL": "mongodb://127.0.0.1:1/x", "REDIS_HOST": "127.0.0.1:1"}, ["NATS_URL"]),
    ],
)
def test_it_names_every_server_that_is_missing(
    given: dict[str, str], missing: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        dockerfile.command(), env={**environment, **given, "CROWN_STACK_PORT_BASE": str(PORT_BASE)},
        cwd=tmp_path, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    lines = done.stderr.removeprefix("crown: ").splitlines()
    assert [line.partition(" ")[0] for line in lines] == missing
    assert "is required" in lines[0]


def test_it_leaves_nothing_behind_when_it_is_told_to_end_early(
    servers: Stack, environment: dict[str, str], tmp_path: Path
) -> None:
    whole = {**environment, **addresses(servers), "CROWN_STACK_PORT_BASE": str(PORT_BASE)}
    command = subprocess.Popen(dockerfile.command(), env=whole, cwd=tmp_path, stdout=subprocess.DEVNULL)
    stack = Stack(PORT_BASE, tmp_path)
    try:
        until(lambda: any(one.pid for one in stack.status()))
    finally:
        command.send_signal(signal.SIGTERM)
        status = command.wait(DOWN_LIMIT_S)
    assert status == 0
    assert stack.supervisor_pid() is None
    assert not any(one.pid for one in stack.status())


def test_with_the_three_it_serves_and_ends_when_told(
    servers: Stack, environment: dict[str, str], tmp_path: Path
) -> None:
    whole = {**environment, **addresses(servers), "CROWN_STACK_PORT_BASE": str(PORT_BASE)}
    log = tmp_path / "command.log"
    with log.open("wb") as output:
        command = subprocess.Popen(
            dockerfile.command(), env=whole, cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        until(lambda: command.poll() is not None or ready())
        assert command.poll() is None, log.read_text()[-2_000:]
        token = subprocess.run(
            ["crown", "token", "--service", "feed"],
            env=whole, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True,
        ).stdout.strip()  # fmt: skip
        sent = call(
            "POST",
            "/api/v1/notifications",
            token,
            {"user_id": "user123", "type": "in_app", "data": {"title": "Hello"}},
        )
        assert sent["notification_id"], sent
    finally:
        command.send_signal(signal.SIGTERM)
        status = command.wait(DOWN_LIMIT_S)
    assert status == 0, log.read_text()[-2_000:]
    with pytest.raises(URLError):
        call("GET", "/healthz", "")


def addresses(servers: Stack) -> dict[str, str]:
    theirs = servers.environment("operator")
    return {
        "DATABASE_URL": read(Path(theirs["DATABASE_URL_FILE"])),
        "NATS_URL": theirs["NATS_URL"],
        "NATS_USER": theirs["NATS_USER"],
        "NATS_PASSWORD": read(Path(theirs["NATS_PASSWORD_FILE"])),
        "REDIS_HOST": read(Path(theirs["REDIS_HOST_FILE"])),
    }


def ready() -> bool:
    try:
        call("GET", "/readyz", "")
    except OSError:
        return False
    return True


def until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + UP_LIMIT_S
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.1)


def call(method: str, path: str, token: str, body: object = None) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{GATEWAY}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"}
        | ({"authorization": f"Bearer {token}"} if token else {}),
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        found: dict[str, object] = json.loads(answer.read() or b"{}")
        return found
