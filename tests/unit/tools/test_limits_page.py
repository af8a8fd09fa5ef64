"""docs/limits.md is what the code enforces, and the tests that it names are there."""

from __future__ import annotations

import pytest

from tools.limits_page import PAGE, ROOT, TRIED, Limit, page, sections

ROWS = [row for rows in sections().values() for row in rows]


def test_the_page_is_what_the_code_gives() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_what_tries_it_is_there(row: Limit) -> None:
    path, _, name = row.test.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    if row.test == TRIED:
        assert row.size
        assert f'"{row.what}":' in text
    else:
        assert f"def {name}(" in text
