"""Mutants that still fit the tree, and what counts as caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stack.settings import ROOT
from tools.mutants.__main__ import judge
from tools.mutants.copies import Copy, Run
from tools.mutants.mutant import Mutant, StaleMutant
from tools.mutants.table import MUTANTS

TEST = """
from code import answer

def test_answer() -> None:
    assert answer() == 42
"""
MUTANT = Mutant("wrong", "the answer is right", "code.py", "42", "43", ("test_code.py::test_answer",))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_still_applies(mutant: Mutant) -> None:
    mutant.check(ROOT)


def test_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_quick_run_tries_a_few() -> None:
    assert 5 <= sum(mutant.quick for mutant in MUTANTS) <= 10


@pytest.mark.parametrize(
    "stale",
    [
        replace(MUTANT, old="41"),
        replace(MUTANT, old="4"),
        replace(MUTANT, new="42"),
        replace(MUTANT, file="nowhere.py"),
        replace(MUTANT, tests=("test_code.py::test_question",)),
        replace(MUTANT, tests=("nowhere.py::test_answer",)),
    ],
)
def test_one_that_does_not_fit_is_named(stale: Mutant, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def answer() -> int:\n    return 42  # 4\n")
    (tmp_path / "test_code.py").write_text(TEST)
    MUTANT.check(tmp_path)
    with pytest.raises(StaleMutant, match="wrong"):
        stale.check(tmp_path)


@pytest.mark.parametrize(
    ("code", "failed", "hangs", "caught"),
    [
        (1, ("test_code.py::test_answer",), False, True),
        (0, (), False, False),
        # A server that did not start, a file that could not be read: nobody looked at the answer.
        (1, (), False, False),
        (2, (), False, False),
        (None, (), False, False),
        (None, (), True, True),
    ],
)
def test_what_counts_as_caught(code: int | None, failed: tuple[str, ...], hangs: bool, caught: bool) -> None:
    outcome = judge(replace(MUTANT, hangs=hangs), Run(code, failed, "", 0.1))
    assert bool(outcome.caught_by) is caught
    assert bool(outcome.problem) is not caught


def test_a_copy_is_changed_and_put_back(tmp_path: Path) -> None:
    copy = Copy(ROOT, tmp_path, ())
    mutant = next(one for one in MUTANTS if one.file == "crown/backoff.py")
    path, before = tmp_path / mutant.file, (ROOT / mutant.file).read_text()
    with copy.changed(mutant):
        assert path.read_text() == mutant.applied(before)
        assert (ROOT / mutant.file).read_text() == before
        run = copy.test(mutant.tests, 60)
        assert judge(mutant, run).caught_by.startswith(mutant.tests[0])
    assert path.read_text() == before
    assert copy.test(mutant.tests, 60).code == 0
