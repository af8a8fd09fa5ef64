"""Prints the figures of the fault runs after the tests, and publishes those of each where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault.table import Result, publish, render

_results = pytest.StashKey[list[Result]]()


@pytest.fixture(scope="session")
def _all(pytestconfig: pytest.Config) -> list[Result]:
    return pytestconfig.stash.setdefault(_results, [])


@pytest.fixture
def results(_all: list[Result], pytestconfig: pytest.Config) -> Iterator[list[Result]]:
    """Where a test puts its figures."""
    found: list[Result] = []
    yield found
    _all.extend(found)
    # At once: a run of all of them takes long, and may be broken off.
    if pytestconfig.getoption("publish"):
        publish(found)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--one-by-one",
        action="store_true",
        help="As `make fault` has it: more moments, each in a run of its own.",
    )
    parser.addoption(
        "--publish", action="store_true", help="Keep the figures of the runs in docs/figures/faults.json."
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_results, [])
    if found:
        terminalreporter.section("fault runs")
        terminalreporter.write_line(render(found))
