"""Counts what is asked of the rules of access: each cell is one caller at one thing that has a rule."""

from __future__ import annotations

from collections import Counter

CELLS: Counter[str] = Counter()
WRONG: Counter[str] = Counter()


def check(surface: str, got: object, wanted: object, *what: object) -> None:
    """One cell of `surface`. Fails, saying `what` it was, where `got` is another answer than `wanted`."""
    CELLS[surface] += 1
    if got != wanted:
        WRONG[surface] += 1
    assert got == wanted, (surface, what)
