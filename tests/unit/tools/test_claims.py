"""Claims of the README and of docs/security.md: each names what shows it, and that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import claims

HEAD = "# Page\n\n| claim | shown by |\n| --- | --- |\n"
TEST = "tests/unit/test_heron.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two tests and two targets."""
    path = tmp_path / TEST
    path.parent.mkdir(parents=True)
    path.write_text(
        "def helper(): ...\nasync def test_flies(): ...\nclass TestWings:\n    def test_two(self): ...\n"
    )
    (tmp_path / "Makefile").write_text("export A := b\ncheck: lint ## All\nfault-quick: setup\n\techo\n")
    return tmp_path


@pytest.mark.parametrize(
    "shown_by",
    [
        f"`{TEST}::test_flies`",
        f"`{TEST}::test_flies[far away]`",
        f"`{TEST}::TestWings::test_two`",
        f"`{TEST}::test_flies`, `make check`",
        "`make fault-quick`",
    ],
)
def test_what_is_there_shows_a_claim(root: Path, shown_by: str) -> None:
    assert claims.problems(f"{HEAD}| It flies. | {shown_by} |\n", root) == []


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("| It flies. |  |", "both needed"),
        ("| It flies. | by looking |", "both needed"),
        ("| It flies. |", "both needed"),
        (f"|  | `{TEST}::test_flies` |", "both needed"),
        (f"| It flies. | `{TEST}::test_swims` |", "no such test"),
        (f"| It flies. | `{TEST}::test_flies`, `{TEST}::test_swims` |", "no such test"),
        (f"| It flies. | `{TEST}::helper` |", "no such test"),
        (f"| It flies. | `{TEST}` |", "no such test"),
        (f"| It flies. | `{TEST}::test_two` |", "no such test"),
        ("| It flies. | `tests/unit/test_gone.py::test_flies` |", "no such file"),
        ("| It flies. | `crown/heron.py::test_flies` |", "neither"),
        ("| It flies. | `make fly` |", "no such target"),
        ("| It flies. | `make A` |", "no such target"),
    ],
)
def test_what_is_not_there_is_told_with_its_line(root: Path, row: str, why: str) -> None:
    (problem,) = claims.problems(f"{HEAD}{row}\n", root)
    assert problem.startswith("line 5: ")
    assert why in problem


def test_other_tables_claim_nothing(root: Path) -> None:
    assert claims.problems("| threat | stopped by |\n| --- | --- |\n| a fox | `a fence` |\n", root) == []


@pytest.mark.parametrize("page", claims.PAGES)
def test_pages_name_what_is_there(page: str) -> None:
    text = (claims.ROOT / page).read_text(encoding="utf-8")
    assert list(claims.claims(text))
    assert claims.problems(text) == []


def test_every_section_with_a_table_claims_something() -> None:
    """An empty table promises nothing, and looks as if it did."""
    page = (claims.ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    sections = [part for part in page.split("\n## ") if "| claim | shown by |" in part]
    assert sections
    assert [part.splitlines()[0] for part in sections if not list(claims.claims(part))] == []
