"""The checker of decision records sees what is wrong with one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

GOOD = """\
# 7. Acknowledge after the disk

| | |
| --- | --- |
| Date | 2026-11-22 |
| Status | Implemented |

## Context
## Decision
## Consequences
"""


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "adr.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_good_record_passes(tmp_path: Path) -> None:
    (tmp_path / "0007-acknowledge-after-the-disk.md").write_text(GOOD)
    assert check(tmp_path).stderr == ""


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("7.md", GOOD, "is not named NNNN-"),
        ("0008-x.md", GOOD, "does not start with its number"),
        ("0007-x.md", GOOD.replace("Implemented", "Done"), "no row | Status |"),
        ("0007-x.md", GOOD.replace("2026-11-22", "today"), "no row | Date |"),
        ("0007-x.md", GOOD.replace("## Decision\n", ""), "no section Decision"),
    ],
    ids=["name", "number", "status", "date", "section"],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text)
    result = check(tmp_path)
    assert result.returncode == 1
    assert complaint in result.stderr


def test_a_number_is_given_once(tmp_path: Path) -> None:
    for name in ("0007-a.md", "0007-b.md"):
        (tmp_path / name).write_text(GOOD)
    assert "0007 is given twice" in check(tmp_path).stderr
