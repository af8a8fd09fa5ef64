"""The one table: each figure, what it stands beside, what it has to reach, and whether it does."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

_PLAIN_WIDTH = 170


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. `reached` is None where there is nothing to reach."""

    name: str
    measured: str
    beside: str = ""
    ratio: str = ""
    reach: str = ""
    reached: bool | None = None
    note: str = ""


def console() -> Console:
    """Where the benchmark prints: wide where nobody has a terminal, so that no line is broken."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def show(figures: Iterable[Figure], to: Console) -> None:
    """Prints the table."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for title in (
        "figure",
        "measured",
        "beside, in the same run",
        "ratio",
        "to reach",
        "",
        "load and servers",
    ):
        table.add_column(title)
    for figure in figures:
        table.add_row(
            figure.name,
            figure.measured,
            figure.beside,
            figure.ratio,
            figure.reach,
            _verdict(figure.reached),
            f"[dim]{figure.note}[/]",
        )
    to.print(table)


def _verdict(reached: bool | None) -> str:
    match reached:
        case True:
            return "[green]reached[/]"
        case False:
            return "[red]below[/]"
        case None:
            return ""
