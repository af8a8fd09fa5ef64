"""The rights of each service at NATS, MongoDB and Valkey are enough: nothing that the suite has done in all the tests
before was refused. Runs after them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from redis import Redis

from stack.control import Stack

_REFUSED = {
    "nats": re.compile(r"Violation"),
    "mongod": re.compile(r"not authorized|Checking authorization failed|Unauthorized"),
}
_SUITE = re.compile(
    r'"bus_forbidden"|not authorized|NOPERM|has no permissions|Permissions Violation', re.IGNORECASE
)


# What the stack's own founding of the replica set says good-bye with, before there are users.
_GOOD_BYE = "endSessions"


def _found(path: Path, wanted: re.Pattern[str]) -> Iterator[str]:
    for line in path.read_text(errors="replace").splitlines():
        if wanted.search(line) and _GOOD_BYE not in line:
            yield f"{path.stem}: {line[:400]}"


def test_no_server_refused_anything(stack: Stack) -> None:
    assert [
        line for name, wanted in _REFUSED.items() for line in _found(stack.layout.log(name), wanted)
    ] == []


def test_no_service_was_refused_anything(stack: Stack) -> None:
    paths = [path for path in stack.layout.logs.glob("*.log") if path.stem not in _REFUSED]
    assert [line for path in paths for line in _found(path, _SUITE)] == []


def test_valkey_refused_nothing(stack: Stack) -> None:
    url = Path(stack.environment("operator")["REDIS_HOST_FILE"]).read_text()
    with Redis.from_url(url) as operator:
        assert operator.acl_log() == []
