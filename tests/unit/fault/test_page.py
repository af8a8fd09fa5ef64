"""docs/faults.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent.parent
_NAMED = re.compile(r"`(tests/[^`\s]+\.py)(?:::(\w+))?`")


def _missing(text: str) -> list[str]:
    """What the text names and is not there."""
    missing = []
    for path, test in _NAMED.findall(text):
        file = ROOT / path
        if not file.exists() or (test and f"def {test}(" not in file.read_text(encoding="utf-8")):
            missing.append(f"{path}::{test}")
    return missing


def test_every_test_that_is_named_is_there() -> None:
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert len(_NAMED.findall(text)) > 30
    assert _missing(text) == []


def test_one_that_is_not_there_is_found() -> None:
    text = "`tests/unit/fault/test_page.py::test_nothing`, `tests/fault/test_x.py`"
    assert _missing(text) == ["tests/unit/fault/test_page.py::test_nothing", "tests/fault/test_x.py::"]
