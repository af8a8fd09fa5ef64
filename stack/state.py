"""What the supervisor tells about its processes: one JSON file, replaced whole at each change."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import IO

from stack.layout import Layout, write_private


class Health(StrEnum):
    WAITING = "waiting"  # for the processes that it needs
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"  # was healthy, runs, and does not answer its probe
    RESTARTING = "restarting"  # exited; the next start is due
    STOPPED = "stopped"
    EXTERNAL = "external"  # named by address, not ours to start


class Phase(StrEnum):
    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(slots=True)
class ProcessStatus:
    """One process as `crown status --json` shows it."""

    name: str
    pid: int | None
    address: str
    health: Health
    restarts: int = 0
    since: str | None = None  # when the present process was started, ISO 8601 in UTC
    last_exit: str | None = None  # how the one before it ended
    detail: str | None = None  # what its probe complained about last


@dataclass(slots=True)
class StackState:
    phase: Phase = Phase.DOWN
    failed: str | None = None  # the process because of which the stack did not come up
    reason: str | None = None
    processes: list[ProcessStatus] = field(default_factory=list)


def write(layout: Layout, state: StackState) -> None:
    write_private(layout.state, json.dumps(asdict(state), indent=1))


def read(layout: Layout) -> StackState:
    """The state as written last; everything stopped when no supervisor runs any more."""
    alive = supervisor_pid(layout) is not None
    try:
        raw = json.loads(layout.state.read_text())
    except FileNotFoundError:
        return StackState()
    state = StackState(
        phase=Phase(raw["phase"]),
        failed=raw["failed"],
        reason=raw["reason"],
        processes=[ProcessStatus(**{**one, "health": Health(one["health"])}) for one in raw["processes"]],
    )
    return state if alive else _ended(state)


def _ended(state: StackState) -> StackState:
    if state.phase is not Phase.FAILED:
        state.phase = Phase.DOWN
    for process in state.processes:
        if process.health is not Health.EXTERNAL:
            process.pid, process.health = None, Health.STOPPED
    return state


def supervisor_pid(layout: Layout) -> int | None:
    """The pid of the running supervisor. It holds a lock while it lives, so a stale file cannot mislead."""
    try:
        file = layout.lock.open("r")
    except FileNotFoundError:
        return None
    with file:
        if _locks(file, fcntl.LOCK_SH):
            return None
        text = file.read().strip()
        return int(text) if text else None


@contextmanager
def held(layout: Layout, pid: int) -> Iterator[bool]:
    """Holds the supervisor's lock; yields False when another supervisor has it."""
    with layout.lock.open("a+") as file:
        if not _locks_soon(file):
            yield False
            return
        file.truncate(0)
        file.write(str(pid))
        file.flush()
        yield True


def _locks_soon(file: IO[str]) -> bool:
    """Whoever asks for the pid holds the lock for an instant, a supervisor for good: half a second tells."""
    for _ in range(50):
        if _locks(file, fcntl.LOCK_EX):
            return True
        time.sleep(0.01)
    return False


def _locks(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
