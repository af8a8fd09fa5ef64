"""What stands in the way of a start is told in one line that names what to change."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from stack import checks
from stack.errors import StackError
from stack.process import Process


async def _serves() -> None:
    pass


def process(name: str, purpose: str, port: int) -> Process:
    return Process(name=name, command=(), address="", ports={purpose: port}, probe=_serves)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PATIENCE_S", 0)


def test_a_port_in_use_names_its_owner_and_the_variable(taken: int) -> None:
    with pytest.raises(StackError) as caught:
        checks.ports_free([process("nats", "nats monitor", taken)], "127.0.0.1")
    line = str(caught.value)
    assert f"port {taken} (nats monitor) is in use by " in line
    assert f"(pid {os.getpid()})" in line
    assert "CROWN_STACK_PORT_BASE" in line
    assert "NATS_URL" in line
    assert "\n" not in line


def test_the_gateway_s_port_has_a_variable_of_its_own(taken: int) -> None:
    with pytest.raises(StackError, match=r"NOTIFICATION_SERVICE_PORT.*CROWN_STACK_PORT_BASE"):
        checks.ports_free([process("gateway", "gateway", taken)], "127.0.0.1")


def test_a_free_port_passes(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
    checks.ports_free([process("nats", "nats", free)], "127.0.0.1")


def test_an_owner_whom_one_may_not_see() -> None:
    assert checks.owner_of(1) == "a process of another user"


@pytest.mark.parametrize(
    ("system", "processor", "glibc", "found"),
    [
        ("Linux", "aarch64", "glibc 2.36", "Linux aarch64"),
        ("Darwin", "arm64", "", "Darwin arm64"),
        ("Linux", "x86_64", "glibc 2.31", "Linux with glibc 2.31"),
        ("Linux", "x86_64", "", "Linux with another C library"),
    ],
    ids=["arm64", "macOS", "an old glibc", "musl"],
)
def test_a_machine_that_no_wheel_fits(system: str, processor: str, glibc: str, found: str) -> None:
    line = checks.misfit_of("mongod", system, processor, glibc)
    assert line is not None
    assert f"here is {found}: use compose.yaml, or name a server in DATABASE_URL" in line


@pytest.mark.parametrize("glibc", ["glibc 2.34", "glibc 2.36", "glibc 2.100"])
def test_a_machine_that_fits(glibc: str) -> None:
    assert checks.misfit_of("mongod", "Linux", "x86_64", glibc) is None
