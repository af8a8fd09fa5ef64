"""docs/limits.md is what the code enforces, and the tests that it names are there."""

from __future__ import annotations

import re

from tools.limits_page import PAGE, ROOT, page


def test_the_page_is_what_the_code_gives() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_what_tries_them_is_there() -> None:
    named = set(re.findall(r"`(tests/[a-z0-9_/]+\.py)`", page()))
    assert named
    assert all((ROOT / path).is_file() for path in named)
