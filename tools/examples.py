"""The `run` scripts of examples/, as processes: each has a log and a time limit, and takes along whatever it started
when it is ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".cache" / "clients"

_END_LIMIT_S = 10
_POLL_S = 0.05
_TAIL_LINES = 40


class Failed(Exception):
    """Something that an example promises was not seen: what, and the end of the log."""

    def __init__(self, problem: str, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if log.exists() else []
        super().__init__("\n".join([problem, *(f"  {line}" for line in lines), f"  (all of it: {log})"]))


def script(name: str, root: Path = ROOT) -> Path:
    """The `run` of an example. Raises Failed where there is none."""
    path = root / "examples" / name / "run"
    if not os.access(path, os.X_OK):
        raise Failed(f"{name}: {path.relative_to(root)} is not there to be run", LOGS / f"{name}.log")
    return path


def build(
    names: Sequence[str],
    limit_s: float,
    tell: Callable[[str, float], None],
    root: Path = ROOT,
    label: str = "build",
) -> None:
    """Builds examples side by side, and tells of each how many seconds it took. Raises Failed for the first that
    fails, and ends the others."""
    begun = time.monotonic()
    with contextlib.ExitStack() as opened:
        left = {}
        for name in names:
            log = LOGS / f"{name}-{label}.log"
            left[name] = opened.enter_context(_started([script(name, root), "build"], {}, log)), log
        while left:
            late = time.monotonic() - begun > limit_s
            for name, (process, log) in list(left.items()):
                if process.poll() is not None or late:
                    _wait(f"{name}: the build", process, 0, log)
                    del left[name]
                    tell(name, time.monotonic() - begun)
            time.sleep(_POLL_S)


def run(
    name: str,
    environment: Mapping[str, str],
    limit_s: float,
    tell: Callable[[str], None],
    root: Path = ROOT,
) -> None:
    """Runs an example to its end, and hands on each line that it prints. Raises Failed."""
    path = LOGS / f"{name}.log"
    with _started([script(name, root)], environment, path) as process, path.open(errors="replace") as lines:
        limit = time.monotonic() + limit_s
        while process.poll() is None and time.monotonic() < limit:
            _hand_on(lines, tell)
            time.sleep(_POLL_S)
        _hand_on(lines, tell)
        _wait(f"{name}: the run", process, max(0.0, limit - time.monotonic()), path)


@contextlib.contextmanager
def serving(
    name: str, port: int, environment: Mapping[str, str], serves: Callable[[], bool], limit_s: float
) -> Iterator[None]:
    """An example as a server on `port`, from when it `serves` on. Raises Failed where it does not in time."""
    path = LOGS / f"{name}-serve.log"
    with _started([script(name), "serve", str(port)], environment, path) as process:
        limit = time.monotonic() + limit_s
        while not serves():
            if process.poll() is not None or time.monotonic() > limit:
                raise Failed(f"{name}: it does not serve on port {port}", path)
            time.sleep(_POLL_S)
        yield


@contextlib.contextmanager
def _started(
    command: Sequence[str | Path], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and what it started, which is in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_END_LIMIT_S)


def _wait(what: str, process: subprocess.Popen[bytes], limit_s: float, log: Path) -> None:
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise Failed(f"{what} did not end in time", log) from None
    if status != 0:
        raise Failed(f"{what} ended with status {status}", log)


def _hand_on(lines: IO[str], tell: Callable[[str], None]) -> None:
    for line in lines:
        tell(line.rstrip("\n"))
