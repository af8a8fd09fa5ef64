"""What all processes told of themselves, as one: how fast what is counted grew, summed over them, and how each one
stands. Nothing here asks anybody."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from crown.vitals import Sample, Snapshot, grows

# Seconds after which a process that says nothing counts no more, and after which it is forgotten.
SILENT_S = 3.0
FORGOTTEN_S = 30.0

# A series of a process: the name of the sample and its labels.
_Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class _Process:
    """The last word of a process, when it came, and how fast its counters grew before it."""

    told: Snapshot
    heard: float
    counts: dict[_Series, float]
    rates: dict[_Series, float] = field(default_factory=dict)


class Rates:
    """Takes snapshots; `present` is seconds by one and the same clock everywhere."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}

    def take(self, told: Snapshot, present: float) -> None:
        """Another word of a process. A first one is what later ones are compared with."""
        counts = _counts(told)
        known = self._processes.get(told.id)
        if known is None:
            self._processes[told.id] = _Process(told, present, counts)
            return
        passed_s = told.time_s - known.told.time_s
        if passed_s <= 0:
            return
        grown = ((series, count - known.counts.get(series, 0.0)) for series, count in counts.items())
        known.rates = {series: more / passed_s for series, more in grown if more > 0}
        known.told, known.heard, known.counts = told, present, counts

    def clear(self) -> None:
        """Forgets all: what comes next is compared with what comes after it."""
        self._processes.clear()

    def sum(self, present: float) -> dict[str, Any]:
        """All as one: `rates` by name, each with labels and growth a second, without what stands still; `processes`
        each with its levels."""
        for gone in [key for key, one in self._processes.items() if present - one.heard > FORGOTTEN_S]:
            del self._processes[gone]
        rates: dict[_Series, float] = {}
        for one in self._processes.values():
            if present - one.heard <= SILENT_S:
                for series, rate in one.rates.items():
                    if series[0] not in (_LAG, *_OWN):
                        rates[series] = rates.get(series, 0.0) + rate
        return {
            "rates": _by_name(rates),
            "processes": [_row(one, present) for one in sorted(self._processes.values(), key=_place)],
        }


def _counts(told: Snapshot) -> dict[_Series, float]:
    return {
        (name, tuple(labels.items())): value
        for name, samples in told.samples.items()
        if grows(name)
        for labels, value in samples
    }


def _by_name(rates: dict[_Series, float]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for (name, labels), rate in rates.items():
        found.setdefault(name, []).append((dict(labels), _short(rate)))
    return found


def _place(one: _Process) -> tuple[str, str]:
    return one.told.process, one.told.place


# Of each process by itself, and not of all together.
_LAG = "crown_loop_lag_seconds_bucket"
_OWN = ("process_cpu_seconds_total", "crown_frames_total")


def _row(one: _Process, present: float) -> dict[str, Any]:
    return {
        "process": one.told.process,
        "place": one.told.place,
        "id": one.told.id,
        "started": int(one.told.started),
        "silent_s": round(present - one.heard, 1),
        "lag_s": _most(one.rates, _LAG),
        "levels": {name: samples for name, samples in one.told.samples.items() if not grows(name)},
        "rates": _by_name({series: rate for series, rate in one.rates.items() if series[0] in _OWN}),
    }


def _most(rates: dict[_Series, float], name: str) -> float | None:
    """The bound of the histogram that nothing has been above of late: what a process took at most. None where nothing
    is known; what is above all bounds has the highest."""
    grown = {float(dict(labels)["le"]): rate for (of, labels), rate in rates.items() if of == name}
    if not grown:
        return None
    all_of_it = max(grown.values())
    bound = min(le for le, rate in grown.items() if rate >= all_of_it)
    return bound if math.isfinite(bound) else max((le for le in grown if math.isfinite(le)), default=None)


def _short(rate: float) -> float:
    # Four digits are enough for anybody who looks.
    return float(f"{rate:.4g}")
