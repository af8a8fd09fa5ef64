"""What a metric is here: one entry of a table that has all that anybody needs to know about it. The page of metrics,
the dashboards and the checks of the alert rules are made from the table, so what is not in it is nowhere.

The table itself is crown/metrics.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# Of each counter and histogram the library would serve when it was made: twice the series, and nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Section(Enum):
    """Where a metric stands on the page and on the dashboards; the value is the heading."""

    DOOR = "Calls and intake"
    DISPATCH = "Dispatch and filter"
    DELIVERY = "Deliveries and providers"
    BOOKS = "Books, streams and consumers"
    REALTIME = "Sockets"
    RELAY = "Relay"
    PROCESS = "Processes"


@dataclass(frozen=True, slots=True)
class Label:
    """A label: `meaning` in a few words; `values` are all that it may have, empty where that is open."""

    name: str
    meaning: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """An entry of the table. `name` is as it is served and as expressions have it; of a histogram without _bucket,
    _sum and _count. `over` says what the value of a gauge is for all processes together: their sum, max or min.
    `note` says what a figure asks for, in Markdown."""

    name: str
    kind: str
    help: str
    section: Section
    unit: str = ""
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    over: str = ""
    note: str = ""

    @property
    def served(self) -> tuple[str, ...]:
        """The names of its samples."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


@dataclass(slots=True)
class Table:
    """The entries, in the order in which they are shown."""

    entries: list[Series] = field(default_factory=list)

    def counter(self, name: str, told: str, section: Section, *labels: Label, note: str = "") -> Counter:
        """Something that is counted; `name` ends in _total."""
        self._add(Series(name, "counter", told, section, labels=labels, note=note))
        return Counter(name, told, _names(labels))

    def gauge(
        self,
        name: str,
        told: str,
        section: Section,
        *labels: Label,
        unit: str = "",
        over: str = "max",
        note: str = "",
    ) -> Gauge:
        """How something stands."""
        self._add(Series(name, "gauge", told, section, unit, labels, over=over, note=note))
        return Gauge(name, told, _names(labels))

    def histogram(
        self,
        name: str,
        told: str,
        section: Section,
        *labels: Label,
        buckets: Sequence[float],
        unit: str = "seconds",
        note: str = "",
    ) -> Histogram:
        """How something that is measured is spread over `buckets`, each an upper bound."""
        self._add(
            Series(name, "histogram", told, section, unit, labels, tuple(map(float, buckets)), note=note)
        )
        return Histogram(name, told, _names(labels), buckets=buckets)

    def foreign(
        self, name: str, kind: str, told: str, *labels: Label, unit: str = "", note: str = ""
    ) -> None:
        """One that the library serves of every process by itself."""
        self._add(Series(name, kind, told, Section.PROCESS, unit, labels, note=note))

    def _add(self, series: Series) -> None:
        if series.kind == "counter" and not series.name.endswith("_total"):
            raise ValueError(f"{series.name}: a counter's name ends in _total")
        if any(series.name == known.name for known in self.entries):
            raise ValueError(f"{series.name}: is in the table already")
        self.entries.append(series)

    def samples(self) -> dict[str, Series]:
        """The entry of each name that a sample can have."""
        return {name: series for series in self.entries for name in series.served}


def _names(labels: Sequence[Label]) -> list[str]:
    return [label.name for label in labels]
