"""An append-only file of lines, in the hands of the operating system before `append` returns.

It survives kill -9 of its process, not a power cut: nothing is fsynced. Without a path it keeps nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class Journal:
    """Opens `path` for appending; a torn last line, left by a killed writer, is cut off."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = -1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(path)
            self._file = _open(path)

    def lines(self) -> list[bytes]:
        """Every line written so far, oldest first, without the line ends."""
        return self._path.read_bytes().splitlines() if self._path is not None else []

    def append(self, line: bytes) -> None:
        """Raises OSError when the file system takes no more; the line then counts as not written."""
        if self._path is None:
            return
        data = line + b"\n"
        written = os.write(self._file, data)
        if written != len(data):
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(f"{self._path}: wrote {written} of {len(data)} bytes")

    def replace(self, lines: Iterable[bytes]) -> None:
        """Puts `lines` in place of all that was written, in one step that a kill cannot halve."""
        if self._path is None:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.unlink(missing_ok=True)
        with open(_open(fresh), "wb") as file:
            file.writelines(line + b"\n" for line in lines)
        fresh.replace(self._path)
        self.close()
        self._file = _open(self._path)

    def close(self) -> None:
        """Closes the file; what was appended is already with the operating system."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _open(path: Path) -> int:
    # The lines hold addresses and texts: nobody else on the machine reads them.
    return os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
