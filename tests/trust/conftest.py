"""Who may do what, and what nobody may, against the whole suite as tests/e2e starts it."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import (
    channel,
    collector,
    feed,
    hook,
    ledger,
    mailbox,
    people,
    person,
    pytest_terminal_summary,
    rest,
    seeded,
    stack,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--inputs",
        type=int,
        help="So many hostile inputs for each surface; their figures are kept in docs/figures.",
    )


__all__ = [
    "channel",
    "collector",
    "feed",
    "hook",
    "ledger",
    "mailbox",
    "people",
    "person",
    "pytest_terminal_summary",
    "rest",
    "seeded",
    "stack",
]
