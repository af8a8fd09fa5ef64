"""Figures are kept by the name of their row, and make a page."""

from __future__ import annotations

import json
import subprocess
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


def test_a_whole_run_says_what_is_missing_and_keeps_the_order(folder: Path) -> None:
    figures.publish(
        "faults", ("fault", "lost", "verdict"), [("new", "0", "held"), ("b", "0", "held")], command="x"
    )
    assert figures.whole("faults", ["a", "b"], 61.7) == ["a"]
    table = json.loads((folder / "faults.json").read_text())
    assert [row["cells"] for row in table["rows"]] == [
        ["a", "", figures.NO_FIGURES], ["b", "0", "held"], ["new", "0", "held"],
    ]  # fmt: skip
    # It still is, until it has figures.
    assert figures.whole("faults", ["a"], 61.7) == ["a"]
    figures.publish("faults", ("fault", "lost", "verdict"), [("a", "0", "held")], command="x")
    assert figures.whole("faults", ["a"], 61.7) == []


def test_a_whole_run_says_how_long_it_took_and_of_which_commit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "commit", lambda: "1234567")
    figures.publish("faults", ("fault", "lost"), [("a", "0"), ("b", "0")], command="make fault")
    figures.whole("faults", [], 61.7)
    assert " in 1 min 2 s at commit `1234567`." in reliability_page.page()
    # One that was run again by itself does not make the whole one shorter.
    monkeypatch.setattr(figures, "commit", lambda: "89abcde+")
    figures.publish("faults", ("fault", "lost"), [("b", "0")], command="make fault")
    assert (
        " in 1 min 2 s at commit `1234567` (1 of 2 rows), `89abcde+` (1 of 2 rows)."
        in reliability_page.page()
    )


def test_what_is_measured_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FOLDER", tmp_path / "docs" / "figures")
    assert figures.commit() == ""
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True)
    found = figures.commit()
    assert len(found) == 7
    (tmp_path / "docs" / "figures" / "faults.json").write_text("{}")
    assert figures.commit() == found
    (tmp_path / "code.py").write_text("x = 1")
    assert figures.commit() == f"{found}+"
