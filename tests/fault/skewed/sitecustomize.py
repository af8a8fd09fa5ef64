"""Gives processes of a stack a clock that goes wrong: Python imports this at its start, where PYTHONPATH says so. In
the folder PYTHON_CLOCKS lies a file for the port of each process concerned: by how many seconds its clock is ahead,
and by how many more each second. It is read again every now and then, so that a clock can jump while its process
works.

Only the time of day is wrong, as it is on a machine with a wrong clock; `time.monotonic` is not, and neither is what
libraries ask the kernel for by themselves."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_PERIOD_S = 0.1


def read(path: Path) -> tuple[float, float]:
    """Seconds ahead, and seconds more in each second."""
    try:
        ahead, drift = path.read_text().split()
    except (FileNotFoundError, ValueError):
        return 0.0, 0.0
    return float(ahead), float(drift)


def _run(path: Path) -> None:
    import time_machine

    # What the machine says: asked before anything is changed.
    real, began = time.time(), time.monotonic()

    def wanted() -> datetime:
        ahead, drift = read(path)
        past_s = time.monotonic() - began
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=real + past_s * (1 + drift) + ahead)

    traveller = time_machine.travel(wanted(), tick=True).start()

    def move() -> None:
        traveller.move_to(wanted())
        # It begins to tick when it is first asked: left alone it would stand still for a busy process's whole start,
        # and gRPC, which counts its deadlines from this clock, would find each of them past.
        time.time()

    move()

    def follow() -> None:
        last = read(path)
        while True:
            time.sleep(_PERIOD_S)
            now = read(path)
            if now != last or now[1]:
                last = now
                move()

    threading.Thread(target=follow, name="clock", daemon=True).start()


if "PYTHON_CLOCKS" in os.environ and "CROWN_GRPC_PORT" in os.environ:
    _run(Path(os.environ["PYTHON_CLOCKS"]) / os.environ["CROWN_GRPC_PORT"])
