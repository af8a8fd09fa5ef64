"""Figures are kept by the name of their row, and make a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import figures
from tools import reliability_page


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(figures, "FOLDER", tmp_path / "figures")
    monkeypatch.setattr(reliability_page, "_DOCS", tmp_path)
    return tmp_path / "figures"


def test_a_row_is_replaced_by_its_name_and_others_stay(folder: Path) -> None:
    figures.publish("faults", ("fault", "lost"), [("a", "0"), ("b", "0")], command="make fault")
    figures.publish("faults", ("fault", "lost"), [("b", "1")], command="make fault")
    rows = json.loads((folder / "faults.json").read_text())["rows"]
    assert [row["cells"] for row in rows] == [["a", "0"], ["b", "1"]]


def test_other_columns_begin_anew(folder: Path) -> None:
    figures.publish("faults", ("fault", "lost"), [("a", "0")], command="make fault")
    figures.publish("faults", ("fault", "lost", "twice"), [("b", "0", "1")], command="make fault")
    assert len(json.loads((folder / "faults.json").read_text())["rows"]) == 1


def test_the_page_has_a_table_for_each_file(folder: Path) -> None:
    assert "## Mutants" not in reliability_page.page()
    figures.publish("mutants", ("mutant", "caught by"), [("a | b", "test_x")], command="make mutants")
    text = reliability_page.page()
    assert "## Mutants" in text
    assert "`make mutants`" in text
    assert r"| a \| b | test_x |" in text
