"""Places where tests kill a process to see what survives. Off unless CROWN_FAILPOINT names a place and a file,
as `<place>:<path>`; fires once, by deleting the file first."""

from __future__ import annotations

import os
import signal
from pathlib import Path

_armed: tuple[str, Path] | None = None


def arm(spec: str) -> None:
    """Arms the place that `spec` names; an empty one disarms."""
    global _armed
    place, _, path = spec.partition(":")
    _armed = (place, Path(path)) if place and path else None


def reach(place: str) -> None:
    """Kills this process, as a crash would, or sends it the signal that it is to get, where `place` is armed."""
    if _armed is not None and _armed[0] == place:
        try:
            name = _armed[1].read_text().strip()
            _armed[1].unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.Signals[name or "SIGKILL"])
