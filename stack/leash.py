"""Becomes another program that dies with the supervisor, also when the supervisor is killed outright.

`python -I -S leash.py <supervisor's pid> <program> <argument>…`. A step between fork and exec of its own: the
supervisor has threads, after which running Python in the forked child itself is not safe.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def command(program: tuple[str, ...], interpreter: str, supervisor_pid: int) -> tuple[str, ...]:
    """The command that runs `program` on the leash."""
    return (interpreter, "-I", "-S", os.path.abspath(__file__), str(supervisor_pid), *program)


def _tie(supervisor_pid: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != supervisor_pid:  # it died before the leash was on
        os._exit(1)


def _open_more_files() -> None:
    """Gateway and sockets need far more descriptors than the usual 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    supervisor_pid, *program = sys.argv[1:]
    _tie(int(supervisor_pid))
    _open_more_files()
    os.execvp(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
