"""A check that runs programs must notice when one fails, and leave none behind."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tools import clients, examples

LIMIT_S = 30
_GONE_S = 10


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "LOGS", tmp_path / "logs")


def example(root: Path, name: str, text: str) -> None:
    path = root / "examples" / name / "run"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


def must_be_gone(pid_file: Path) -> None:
    if not pid_file.exists():
        return  # it was ended before it had started any
    pid, limit = int(pid_file.read_text()), time.monotonic() + _GONE_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < limit, f"{pid} is left behind"
        time.sleep(0.01)


def test_a_build_that_fails_shows_its_log_and_ends_the_others(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    example(tmp_path, "slow", f"sleep 300 & echo $! > {pid}.new; mv {pid}.new {pid}; wait")
    example(tmp_path, "broken", f"until [ -e {pid} ]; do sleep 0.01; done; echo no such field >&2; exit 1")
    with pytest.raises(examples.Failed, match=r"broken: the build ended with status 1\n  no such field"):
        examples.build(["slow", "broken"], LIMIT_S, lambda *_: None, tmp_path)
    must_be_gone(pid)


def test_builds_are_told_of_as_they_end(tmp_path: Path) -> None:
    example(tmp_path, "one", '[ "$1" = build ]')
    example(tmp_path, "two", '[ "$1" = build ]')
    told: list[str] = []
    examples.build(["one", "two"], LIMIT_S, lambda name, _: told.append(name), tmp_path)
    assert sorted(told) == ["one", "two"]


def test_what_a_run_says_is_handed_on(tmp_path: Path) -> None:
    example(tmp_path, "talker", "echo one; echo $CROWN_TARGET")
    told: list[str] = []
    examples.run("talker", {"CROWN_TARGET": "two"}, LIMIT_S, told.append, tmp_path)
    assert told == ["one", "two"]


def test_a_run_that_fails_is_told_with_its_status(tmp_path: Path) -> None:
    example(tmp_path, "blind", "echo missing: a bell; exit 3")
    with pytest.raises(examples.Failed, match=r"ended with status 3\n  missing: a bell"):
        examples.run("blind", {}, LIMIT_S, lambda _: None, tmp_path)


def test_a_run_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    example(tmp_path, "endless", f"sleep 300 & echo $! > {pid}.new; mv {pid}.new {pid}; wait")
    with pytest.raises(examples.Failed, match="did not end in time"):
        examples.run("endless", {}, 2, lambda _: None, tmp_path)
    must_be_gone(pid)


def test_an_example_that_is_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(examples.Failed, match="examples/cobol/run is not there"):
        examples.build(["cobol"], LIMIT_S, lambda *_: None, tmp_path)


def test_a_name_that_is_no_example_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert clients.main(["cobol"]) == 2
    assert "there is no cobol" in capsys.readouterr().err


def test_every_example_is_run() -> None:
    folders = {path.parent.name for path in (examples.ROOT / "examples").glob("*/run")}
    assert folders == set(clients.EXAMPLES)
