"""Who may do what, and what nobody may, against the whole suite as tests/e2e starts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psutil
import pytest

from stack.control import Stack
from tests import figures
from tests.e2e.conftest import *  # noqa: F403 -- which fixtures these are is said there
from tests.trust.counting import COLUMNS, COMMAND, FEW, Count

# After so many inputs the processes may hold no more than so much of what they did not hold before.
GROWTH_MOST_BYTES = 96 << 20
_OTHERS = {"mongod", "nats", "valkey", "sandbox", "mailbox"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--inputs",
        type=int,
        help="So many hostile inputs for each surface; their figures are kept in docs/figures.",
    )


@pytest.fixture(scope="session", autouse=True)
def unlimited(pytestconfig: pytest.Config) -> Iterator[None]:
    """Thousands of inputs come from one address, and are for the services: the gateway is to pass them all."""
    with pytest.MonkeyPatch.context() as patch:
        if pytestconfig.getoption("inputs", None):
            patch.setenv("GATEWAY_OPEN_RATE", "0")
            patch.setenv("GATEWAY_CALLBACK_RATE", "0")
        yield


@pytest.fixture(scope="module")
def number(pytestconfig: pytest.Config) -> int:
    """How many inputs a surface gets."""
    return int(pytestconfig.getoption("inputs", None) or FEW)


@pytest.fixture(scope="module")
def counted(pytestconfig: pytest.Config) -> Iterator[Callable[[Count], None]]:
    """Takes what came of a surface: there has to be nothing to say of it. Publishes all where many were tried."""
    rows = []

    def take(count: Count) -> None:
        rows.append(count.row)
        assert (count.faults, count.undocumented, count.hung) == (0, 0, 0), count

    yield take
    if pytestconfig.getoption("inputs", None) and rows:
        figures.publish("inputs", COLUMNS, rows, command=COMMAND)


@pytest.fixture(scope="module")
def steady(stack: Stack) -> Iterator[None]:
    """No process ends because of it all, and none holds on to what it was sent."""
    pids = {one.name: one.pid for one in stack.status() if one.pid}
    before = {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}
    yield
    assert {one.name: one.pid for one in stack.status() if one.pid} == pids
    grown = {name: psutil.Process(pid).memory_info().rss - before[name] for name, pid in pids.items()}
    ours = {name: size for name, size in grown.items() if name not in _OTHERS}
    assert max(ours.values()) < GROWTH_MOST_BYTES, ours
