"""A fault run that leaves out a row fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import figures
from tests.fault import table, whole


def test_a_row_that_the_committed_table_has_and_this_run_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    monkeypatch.setattr(whole, "committed", lambda: ["kill -9 nats", "none"])
    table.publish([table.Result(fault="none")])
    for _ in range(2):
        assert whole.missing(60.0) == "fault: no figures, and there were some before: kill -9 nats"
    table.publish([table.Result(fault="kill -9 nats")])
    assert whole.missing(60.0) == ""


def test_what_counts_is_the_table_of_the_last_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FOLDER", tmp_path)

    def git(*words: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True)

    assert whole.committed() == []
    git("init", "-q")
    table.publish([table.Result(fault="none")])
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (tmp_path / f"{table.NAME}.json").unlink()
    table.publish([table.Result(fault="kill -9 nats")])
    assert whole.committed() == ["none"]
