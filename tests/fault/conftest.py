"""What a file of fault tests is given, by what its fixture `suite` says; and the figures of the runs, printed after
the tests, and published where that is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import replace

import pytest

from stack.control import Stack
from tests.fault.site import Site, site
from tests.fault.suite import Suite
from tests.fault.table import Result, publish, render

_results = pytest.StashKey[list[Result]]()
_wrong = pytest.StashKey[str]()


@pytest.fixture(scope="module")
def stack(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The file's suite, up while its tests run."""
    with suite.stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
async def scene(stack: Stack, suite: Suite) -> AsyncIterator[Site]:
    """The suite with its people, each on their socket."""
    async with site(stack, suite.people, suite.browsers) as found:
        yield found


@pytest.fixture(scope="session")
def _all(pytestconfig: pytest.Config) -> list[Result]:
    return pytestconfig.stash.setdefault(_results, [])


@pytest.fixture
def results(
    _all: list[Result], pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> Iterator[list[Result]]:
    """Where a test puts its figures. Where it fails, whatever for, its rows say so."""
    found: list[Result] = []
    yield found
    if wrong := request.node.stash.get(_wrong, ""):
        found = [replace(one, wrong=one.wrong or wrong) for one in found]
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
        "--soak-s", type=float, default=150.0, help="How long the soak lasts; `make soak` has it longer."
    )
    parser.addoption(
        "--publish", action="store_true", help="Keep the figures of the runs in docs/figures/faults.json."
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_results, [])
    if found:
        terminalreporter.section("fault runs")
        terminalreporter.write_line(render(found))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and report.failed:
        item.stash[_wrong] = f"failed: {call.excinfo.typename}"
    return report
