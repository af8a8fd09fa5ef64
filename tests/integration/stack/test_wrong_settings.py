"""Real processes with settings that only starting can find wrong: each ends with the variable's name in its last
words. What every setting by itself may be is tested in tests/unit/services/test_wrong_settings.py."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# A few seconds, of which most is Python loading; the machine may be busy with other tests.
LIMIT_S = 20.0
NOBODY = "127.0.0.1:1"
FEEDS = """
[[feed]]
name = "scores"
url = "ws://127.0.0.1:1/"
[[feed.event]]
id = "id"
user_id = "user.id"
data.title = "{team} scored"
"""
PUBLIC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "kid": "1",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def given(folder: Path) -> dict[str, str]:
    keys = folder / "jwks.json"
    keys.write_text(json.dumps({"keys": [PUBLIC_KEY]}))
    return {
        "NATS_URL": f"nats://{NOBODY}",
        "DATABASE_URL": f"mongodb://{NOBODY}/crown",
        "REDIS_HOST": NOBODY,
        "CROWN_JWKS": str(keys),
        "CROWN_JWT_ISSUER": "test",
        "CROWN_DATA_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "CROWN_BIND": "127.0.0.1",
        "CROWN_METRICS_PORT": str(free_port()),
        "CROWN_GRPC_PORT": str(free_port()),
        "CROWN_WEBSOCKET_PORT": str(free_port()),
        "CROWN_LONGPOLL_PORT": str(free_port()),
        "SMTP_HOST": NOBODY,
        "CROWN_EMAIL_FROM": "Crown <notifications@crown.example>",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def ends(environment: dict[str, str], *module: str) -> tuple[int, str]:
    """Status and last words of a process that does not come up."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        env=environment, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["CROWN_METRICS_PORT", "CROWN_WEBSOCKET_PORT", "CROWN_LONGPOLL_PORT"])
def test_a_port_that_is_taken(name: str, taken: int, tmp_path: Path) -> None:
    status, said = ends({**given(tmp_path), name: str(taken)}, "services.realtime")
    assert status == 2
    assert f"{name}: cannot listen on 127.0.0.1:{taken}" in said


def test_a_grpc_port_that_is_taken(taken: int, tmp_path: Path) -> None:
    feeds = tmp_path / "feeds.toml"
    feeds.write_text(FEEDS)
    relay = {
        "CROWN_RELAY_FEEDS": str(feeds),
        "CROWN_RELAY_TOKEN": "token",
        "CROWN_INGEST_ADDRESS": NOBODY,
        "CROWN_GRPC_PORT": str(taken),
    }
    status, said = ends({**given(tmp_path), **relay}, "services.realtime.relay")
    assert (status, "CROWN_GRPC_PORT: cannot listen on" in said) == (2, True), said


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    status, said = ends({**given(tmp_path), "CROWN_BIND": "192.0.2.1"}, "services.ingest", "api")
    assert (status, "CROWN_BIND: is no address of this machine" in said) == (2, True), said


@pytest.mark.parametrize("content", [None, "hunter2", '{"keys": []}'])
def test_keys_that_cannot_be_read(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    status, said = ends({**given(tmp_path), "CROWN_JWKS": str(path)}, "services.email")
    assert (status, "CROWN_JWKS: " in said) == (2, True), said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("module", "name"),
    [(("services.email",), "DATABASE_URL"), (("services.ingest", "api"), "NATS_URL")],
)
def test_a_server_that_is_away(module: tuple[str, ...], name: str, tmp_path: Path) -> None:
    # It may come: whoever supervises the process starts it again.
    began = time.monotonic()
    status, said = ends(given(tmp_path), *module)
    assert (status, name in said) == (1, True), said
    assert time.monotonic() - began > 1, "it did not try"
