"""What is made is written, or compared and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.made import keep


def test_it_is_written_and_then_it_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {tmp_path / "new" / "a.md": "a", tmp_path / "b.md": "b"}
    assert keep(files, "protos/", "tools.pages", ["--check"]) == 1
    assert "a.md is not what protos/ gives: run python -m tools.pages" in capsys.readouterr().err
    assert keep(files, "protos/", "tools.pages", []) == 0
    assert keep(files, "protos/", "tools.pages", ["--check"]) == 0


def test_what_somebody_changed_is_named_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {tmp_path / "a.md": "a", tmp_path / "b.md": "b"}
    keep(files, "protos/", "tools.pages", [])
    (tmp_path / "b.md").write_text("changed")
    assert keep(files, "protos/", "tools.pages", ["--check"]) == 1
    assert capsys.readouterr().err.count("is not what") == 1
    assert (tmp_path / "b.md").read_text() == "changed"
