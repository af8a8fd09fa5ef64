"""Reads one table of a TOML file key by key and keeps every problem: which feed, which event, which field, and what
is allowed. Values never appear: some are secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

# Turns what stands in the file into what we want. Raises ValueError saying what is allowed.
Check = Callable[[Any], T]


@dataclass
class Table:
    """`values` as the file has them, told as `where`; problems go to `problems`, which all tables share."""

    where: str
    values: dict[str, Any]
    problems: list[str]
    _asked: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether the file gives this field."""
        return name in self.values

    def need(self, name: str, check: Check[T]) -> T | None:
        """A field that has to be there. None, and a problem, where it is missing or wrong."""
        if name not in self.values:
            self._asked.append(name)
            self.problem(name, "is required")
            return None
        return self.take(name, check)

    def take(self, name: str, check: Check[T]) -> T | None:
        """A field that may be there. None where it is not; and with a problem, where it is wrong."""
        self._asked.append(name)
        if name not in self.values:
            return None
        try:
            return check(self.values[name])
        except ValueError as error:
            self.problem(name, str(error))
            return None

    def tables(self, name: str, written: str) -> list[Table]:
        """The tables of an array of tables, numbered from 1. A problem where there is none."""
        self._asked.append(name)
        found = self.values.get(name)
        if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
            self.problem(name, f"must be given as {written}, once or more")
            return []
        return [
            Table(f"{self.where}{name} {number}: ", one, self.problems) for number, one in enumerate(found, 1)
        ]

    def table(self, name: str) -> Table:
        """A table within this one; an empty one, and a problem, where there is none."""
        self._asked.append(name)
        found = self.values.get(name)
        if not isinstance(found, dict):
            self.problem(name, "must be a table")
            found = {}
        return Table(f"{self.where}{name}.", found, self.problems)

    def problem(self, name: str, words: str) -> None:
        """Notes what is wrong with a field."""
        self.problems.append(f"{self.where}{name}: {words}")

    def end(self) -> None:
        """Notes every field that nobody asked for."""
        for name in self.values:
            if name not in self._asked:
                # Of a name that somebody made up, no more than fits on a line.
                self.problem(f"{name!a:.42}", f"is not known here; there are {', '.join(self._asked)}")


def text(value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a string that is not empty")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A list of strings."""
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError("must be a list of strings")
    return tuple(value)


def one_of(allowed: Sequence[str]) -> Check[str]:
    """One of these words."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value

    return check


def some_of(allowed: Sequence[str]) -> Check[tuple[str, ...]]:
    """One or more of these words, each once."""

    def check(value: Any) -> tuple[str, ...]:
        known = isinstance(value, list) and all(isinstance(one, str) and one in allowed for one in value)
        if not known or not value or len(set(value)) < len(value):
            raise ValueError(f"must be a list of {', '.join(allowed)}, each once at most")
        return tuple(value)

    return check


def seconds(low: float, high: float) -> Check[float]:
    """A number of seconds."""

    def check(value: Any) -> float:
        # True is an int, too.
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return float(value)

    return check
