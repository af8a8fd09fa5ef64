"""What operators are given, against the whole suite as tests/e2e starts it."""

from __future__ import annotations

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
