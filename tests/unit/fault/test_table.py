"""A row of the table says what was counted, and nothing of what was not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from stack.settings import ROOT
from tests.fault import table
from tests.fault.checker import Bounds, check
from tests.fault.evidence import Evidence
from tests.fault.lags import Lag, Lags
from tests.fault.table import COLUMNS, Result


def _row(result: Result) -> dict[str, str]:
    return dict(zip(COLUMNS, table.cells(result), strict=True))


def test_a_run_that_counted_for_itself() -> None:
    row = _row(Result(fault="power loss", seed=2, asked=900, accepted=880, lost=0))
    assert {name: cell for name, cell in row.items() if cell} == {
        "fault": "power loss",
        "seed": "2",
        "asked": "900",
        "accepted": "880",
        "lost": "0",
        "verdict": "held",
    }


def test_a_run_that_was_judged() -> None:
    lags = Lags(Lag(3, 0.01, 0.02), Lag(0, 0.0, 0.0), Lag(1, 1.5, 1.5))
    result = Result(
        fault="kill", verdict=check([], Evidence(), Bounds()), calls=1.0, detect_s=0.25, answers=lags, rss_mb=80.4,
        descriptors=20,
    )  # fmt: skip
    row = _row(result)
    assert row["asked"] == row["lost"] == row["duplicates"] == "0"
    assert row["calls per delivery"] == "1.00"
    assert row["answer p50/p99 ms: before, during, after"] == "10/20, none, 1500/1500"
    assert row["RSS MB / descriptors, most of a process"] == "80 / 20"
    assert row["recover s"] == ""


def test_what_went_wrong_beside_is_said() -> None:
    assert _row(Result(fault="kill", wrong="after 9 s: 1 waits"))["verdict"] == "after 9 s: 1 waits"


def test_columns_that_are_empty_in_all_rows_are_not_shown() -> None:
    text = table.render([Result(fault="kill", asked=5)])
    assert text.splitlines()[0].split() == ["fault", "asked", "verdict"]


def test_the_rows_of_a_test_that_fails_say_so(tmp_path: Path) -> None:
    path = tmp_path / "test_rows.py"
    path.write_text(
        "from tests.fault.table import Result\n"
        "def test_kept(results): results.append(Result(fault='this', asked=1))\n"
        "def test_broken(results):\n"
        "    results.append(Result(fault='that', asked=1))\n"
        "    assert False\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.fault.conftest",
        f"--rootdir={tmp_path}",
        str(path),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout
    assert re.search(r"^this .* held$", told, re.M), told
    assert re.search(r"^that .* failed: AssertionError$", told, re.M), told
