"""Trace context: taken over where it is one, begun anew where it is not."""

from __future__ import annotations

import contextvars
import re

import pytest

from crown import tracing

GOOD = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (GOOD, True),
        (None, False),
        ("", False),
        (GOOD.upper(), False),
        (GOOD + "\n", False),
        (GOOD[:-1], False),
        ("01" + GOOD[2:], False),
        ("nonsense", False),
    ],
)
def test_only_a_well_formed_context_goes_on(given: str | None, kept: bool) -> None:
    def adopted() -> str:
        tracing.adopt(given)
        return tracing.current()

    found = contextvars.Context().run(adopted)
    assert (found == given) == kept
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found)


def test_a_task_without_one_begins_one_and_keeps_it() -> None:
    first, again = contextvars.Context().run(lambda: (tracing.current(), tracing.current()))
    assert first == again
    assert contextvars.Context().run(tracing.current) != first
