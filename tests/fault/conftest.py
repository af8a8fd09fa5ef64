"""Prints the figures of the fault runs after the tests, and publishes them where that is asked for."""

from __future__ import annotations

import pytest

from tests.fault.table import Result, publish, render

_results = pytest.StashKey[list[Result]]()


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> list[Result]:
    """Where runs put their figures."""
    return pytestconfig.stash.setdefault(_results, [])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--publish", action="store_true", help="Keep the figures of the runs in docs/figures/faults.json."
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_results, [])
    if found:
        terminalreporter.section("fault runs")
        terminalreporter.write_line(render(found))
        if config.getoption("publish"):
            publish(found)
