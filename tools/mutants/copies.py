"""A copy of the tree to change, and pytest in it."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.mutants.mutant import Mutant

# What is not tracked, and tests need all the same.
_LINKED = (".venv", ".cache", "tests/js/node_modules", "tests/browser/node_modules")
_FAILED = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)
# A test that a change makes wait is not waited for as long as one that is busy.
_TEST_LIMIT_S = 40


@dataclass(frozen=True, slots=True)
class Run:
    """How pytest ended: its exit code, None where it was ended from outside; the tests that failed; what it said."""

    code: int | None
    failed: tuple[str, ...]
    output: str
    seconds: float


class Copy:
    """The tracked files of a tree, in a folder of their own."""

    def __init__(self, root: Path, folder: Path, ports: Sequence[str]) -> None:
        """`ports`: the command that gives what follows it a network of its own; empty where there is one copy."""
        self._folder = folder
        self._ports = ports
        self._times = itertools.count(int(time.time()))
        self._process: subprocess.Popen[str] | None = None
        self.stopped = False
        for name in _tracked(root):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target, follow_symlinks=False)
        for name in _LINKED:
            if (root / name).exists():
                (folder / name).symlink_to((root / name).resolve())

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """The copy with the change. Raises StaleMutant."""
        path = self._folder / mutant.file
        before = path.read_text(encoding="utf-8")
        self._write(path, mutant.applied(before))
        try:
            yield
        finally:
            self._write(path, before)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # Python takes a compiled file for its source's by the second and the length, and both may be what they were.
        when = next(self._times)
        os.utime(path, (when, when))

    def test(self, names: Iterable[str], limit_s: float) -> Run:
        """Runs these tests, up to the first that fails."""
        command = (
            *self._ports, "env", "COLUMNS=160", sys.executable, "-m", "pytest",
            "-q", "-x", "-rf", "--no-header", "--tb=short", "-p", "no:cacheprovider",
            f"--timeout={_TEST_LIMIT_S}", *names,
        )  # fmt: skip
        began = time.monotonic()
        process = self._process = subprocess.Popen(
            command,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        code: int | None
        try:
            output, _ = process.communicate(timeout=limit_s)
            code = process.returncode
        except subprocess.TimeoutExpired:
            _interrupt(process)
            output, code = _rest(process), None
        return Run(code, tuple(_FAILED.findall(output)), output, time.monotonic() - began)

    def stop(self) -> None:
        """Ends the tests that run; no others are to be begun."""
        self.stopped = True
        if self._process is not None and self._process.poll() is None:
            _interrupt(self._process)


def _interrupt(process: subprocess.Popen[str]) -> None:
    # As Ctrl-C does: so tests end the servers that they started.
    os.killpg(process.pid, signal.SIGINT)


def _rest(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


def _tracked(root: Path) -> list[str]:
    # With what is new and not ignored: who writes a test tries it before it is committed.
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (root / name).is_file()]


def own_network() -> tuple[str, ...]:
    """The command that gives what follows it a loopback of its own; empty where this machine does not allow that."""
    command = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    try:
        allowed = subprocess.run((*command, "true"), capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return command if allowed else ()
