"""The log files of a stack: kept below a size, shown by their last lines, followed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from stack.layout import Layout

MAX_BYTES = 16 * 1024 * 1024

_FOLLOW_INTERVAL_S = 0.2
_TAIL_BYTES = 256 * 1024


def say(event: str) -> None:
    """A line in the supervisor's own log. A full disk costs the line, not the stack."""
    with contextlib.suppress(OSError):
        print(datetime.now(UTC).isoformat(timespec="milliseconds"), event, flush=True)


def cap(layout: Layout) -> None:
    """Moves what stands in a log that has grown too long to `<name>.log.1`.

    Processes hold their log open for appending, so the file is emptied in place; lines that arrive between
    copy and cut are lost.
    """
    for path in layout.logs.glob("*.log"):
        if path.stat().st_size > MAX_BYTES:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            with path.open("r+b") as file:
                file.truncate(0)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log, from its last 256 KiB at most; empty when there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines else []


def follow(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yields each line that is appended from now on, without end. Follows a log through its cutting."""
    positions = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    rests = dict.fromkeys(paths, "")
    while True:
        for path in paths:
            text, positions[path] = _read_from(path, positions[path])
            *whole, rests[path] = (rests[path] + text).split("\n")
            for line in whole:
                yield path, line
        time.sleep(_FOLLOW_INTERVAL_S)


def _read_from(path: Path, position: int) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(position if size >= position else 0)
            data = file.read()
            return data.decode(errors="replace"), file.tell()
    except FileNotFoundError:
        return "", 0
