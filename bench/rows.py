"""Every row of the table. A new one is a module with `measure`, and a line here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import bulk, fanout, frame, unary
from bench.site import Site
from bench.table import Figure


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured, and the processes that it needs; nothing else runs then. None named: the whole suite."""

    name: str
    measure: Callable[[Site], Awaitable[list[Figure]]]
    only: tuple[str, ...] = ()


# Rows with the same needs stand together: they share a stack.
ROWS = (
    Row("unary", unary.measure, only=("ingest-api",)),
    Row("bulk", bulk.measure, only=("ingest-api",)),
    Row("frame", frame.measure),
    Row("fanout", fanout.measure),
)
