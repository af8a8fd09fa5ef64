"""A disk that can lose power: an ext4 file system in a file. What was not yet written to the file when it is
copied is not in the copy, just as what was not yet on the disk is gone when the power is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TOOLS = ("mkfs.ext4", "mount", "umount", "cp")
_LIMIT_S = 60


def missing() -> str:
    """What this machine lacks for it; empty: nothing."""
    if os.geteuid() != 0:
        return "root, to mount a file system of its own"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} (packages e2fsprogs, mount, coreutils)"
    return "" if Path("/dev/loop-control").exists() else "loop devices (/dev/loop-control)"


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system in `image`."""

    image: Path

    @classmethod
    def fresh(cls, image: Path, size_mb: int) -> Disk:
        """A new, empty one. The file takes no more room than is written."""
        with image.open("wb") as file:
            file.truncate(size_mb << 20)
        _run("mkfs.ext4", "-q", "-F", str(image))
        return cls(image)

    @contextmanager
    def mounted(self, at: Path) -> Iterator[None]:
        """Its files lie at `at` while the block runs; nobody may use them when it ends."""
        at.mkdir(parents=True, exist_ok=True)
        _run("mount", "-o", "loop", str(self.image), str(at))
        try:
            yield
        finally:
            try:
                _run("umount", str(at))
            except subprocess.CalledProcessError:
                # Somebody still has a file open there: it goes when they do.
                _run("umount", "--lazy", str(at))

    def after_power_loss(self, image: Path) -> Disk:
        """The disk as it would be found if the power went now. Stop the writer first: what it writes during
        the copy might be there in part."""
        _run("cp", "--sparse=always", "--reflink=auto", str(self.image), str(image))
        return Disk(image)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
