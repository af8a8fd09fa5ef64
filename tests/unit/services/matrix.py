"""The confusion matrix of all providers' tables: what should have been made of each answer against what was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown

KINDS: tuple[type[Outcome], ...] = (Delivered, Retry, Snooze, Discard, Unknown)


@dataclass
class Matrix:
    """Takes cases, prints the matrix and holds that it is diagonal."""

    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    by_provider: Counter[str] = field(default_factory=Counter)

    def add(self, provider: str, case: str, expected: type[Outcome], observed: Outcome) -> None:
        """One case of one provider."""
        found = type(observed)
        self.by_provider[provider] += 1
        self.cells[expected.__name__, found.__name__] += 1
        if found is not expected:
            self.wrong.append(f"{provider}, {case}: {expected.__name__} was taken for {observed}")

    def __str__(self) -> str:
        names = [kind.__name__ for kind in KINDS]
        rows = [[name, *(str(self.cells[name, other] or ".") for other in names)] for name in names]
        lines = [["expected \\ observed", *names], *rows]
        table = "\n".join(line[0].ljust(20) + "".join(cell.rjust(11) for cell in line[1:]) for line in lines)
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.by_provider.items()))
        return f"{table}\n{sum(self.cells.values())} cases: {counts}"

    def check(self) -> None:
        """Prints it, and fails where it is not diagonal."""
        print(f"\n{self}")  # noqa: T201 -- that it can be seen is what it is for
        assert not self.wrong, "\n".join(self.wrong)
