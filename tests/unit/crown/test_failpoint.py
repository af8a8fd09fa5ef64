"""Where tests kill a process: once, at the place that is named, and nowhere in real life."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from crown import failpoint


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """What would have been killed."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: found.append((pid, number)))
    yield found
    failpoint.arm("")


def test_it_fires_once_and_at_its_place(kills: list[tuple[int, int]], tmp_path: Path) -> None:
    armed = tmp_path / "armed"
    armed.touch()
    failpoint.arm(f"here:{armed}")
    failpoint.reach("there")
    assert (kills, armed.exists()) == ([], True)
    failpoint.reach("here")
    failpoint.reach("here")
    assert (kills, armed.exists()) == ([(os.getpid(), signal.SIGKILL)], False)


def test_the_file_may_name_another_signal(kills: list[tuple[int, int]], tmp_path: Path) -> None:
    armed = tmp_path / "armed"
    armed.write_text("SIGSTOP\n")
    failpoint.arm(f"here:{armed}")
    failpoint.reach("here")
    assert (kills, armed.exists()) == ([(os.getpid(), signal.SIGSTOP)], False)


@pytest.mark.parametrize("spec", ["", "here", "here:", ":/file"])
def test_it_is_off_unless_both_are_named(kills: list[tuple[int, int]], spec: str) -> None:
    failpoint.arm(spec)
    failpoint.reach("here")
    failpoint.reach("")
    assert kills == []
