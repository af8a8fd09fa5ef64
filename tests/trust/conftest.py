"""Who may do what, and what nobody may, against the whole suite as tests/e2e starts it."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import *  # noqa: F403 -- which fixtures these are is said there


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--inputs",
        type=int,
        help="So many hostile inputs for each surface; their figures are kept in docs/figures.",
    )
