"""The append-only file under the ledger and the mailbox."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stack.journal import Journal


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "journal")
    for line in (b"one", b"two"):
        journal.append(line)
    assert journal.lines() == [b"one", b"two"]
    journal.close()
    assert Journal(tmp_path / "deep" / "journal").lines() == [b"one", b"two"]


@pytest.mark.parametrize(("left", "kept"), [(b"", []), (b"torn", []), (b"one\ntor", [b"one"])])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, left: bytes, kept: list[bytes]) -> None:
    path = tmp_path / "journal"
    path.write_bytes(left)
    journal = Journal(path)
    assert journal.lines() == kept
    journal.append(b"next")
    assert journal.lines() == [*kept, b"next"]


def test_replaced_lines_are_gone_and_new_ones_follow(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(b"old")
    journal.replace([b"new"])
    journal.append(b"newer")
    assert journal.lines() == [b"new", b"newer"]
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]


def test_half_a_write_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(b"whole")
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: write(file, data[:3]))
        with pytest.raises(OSError, match="wrote 3 of 5 bytes"):
            journal.append(b"half")
    journal.append(b"next")
    assert journal.lines() == [b"whole", b"next"]


def test_without_a_path_nothing_is_kept() -> None:
    journal = Journal(None)
    journal.append(b"x")
    journal.replace([b"y"])
    journal.close()
    assert journal.lines() == []
