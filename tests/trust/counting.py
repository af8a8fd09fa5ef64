"""Counts what came of hostile inputs, as docs/figures has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

COLUMNS = ("surface", "inputs tried", "5xx", "undocumented answers", "hang or dropped")
COMMAND = "make hostile, make openapi"
FEW = 60
AT_ONCE = 8
# Seconds that an answer may take before it counts as a hang.
LIMIT_S = 10.0


@dataclass
class Count:
    """What came of one surface's inputs. `first` is the first answer that was not as it should be."""

    surface: str
    tried: int = 0
    faults: int = 0
    undocumented: int = 0
    hung: int = 0
    first: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        """As it is published."""
        return (self.surface, f"{self.tried:,}", str(self.faults), str(self.undocumented), str(self.hung))

    def fault(self, what: object) -> None:
        """Something that is ours."""
        self.faults += 1
        self.first = self.first or f"{what}"[:2_000]

    def odd(self, what: object) -> None:
        """Something that nobody has said could come."""
        self.undocumented += 1
        self.first = self.first or f"{what}"[:2_000]

    def silent(self, what: object) -> None:
        """No answer."""
        self.hung += 1
        self.first = self.first or f"{what!r}"[:2_000]


async def each(number: int, attempt: Callable[[int], Awaitable[None]]) -> None:
    """Makes so many attempts, a few at once."""
    waiting = iter(range(number))

    async def work() -> None:
        for index in waiting:
            await attempt(index)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
