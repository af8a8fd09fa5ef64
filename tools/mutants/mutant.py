"""One small wrong change, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleMutant(Exception):
    """The text that a mutant changes is not there any more, or there more than once; the message says where."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` in `file` becomes `new`, which breaks `promise`; one of `tests`, names as pytest takes them, has to fail.
    `quick`: among those that a quick run tries. `hangs`: the change may make the test wait for ever, so that a run
    which is ended counts. `limit_s` is what its tests may take."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    quick: bool = False
    hangs: bool = False
    limit_s: float = 90.0

    def applied(self, text: str) -> str:
        """The text of `file` with the change. Raises StaleMutant."""
        found = text.count(self.old)
        if found != 1 or self.old == self.new:
            raise StaleMutant(
                f"{self.name}: its text stands {found} times in {self.file}, and has to stand there once"
            )
        return text.replace(self.old, self.new)

    def check(self, root: Path) -> None:
        """Raises StaleMutant where it cannot be applied to the tree in `root`."""
        path = root / self.file
        if not path.is_file():
            raise StaleMutant(f"{self.name}: there is no {self.file}")
        self.applied(path.read_text(encoding="utf-8"))
        for test in self.tests:
            file, _, name = test.partition("::")
            path = root / file
            # A name may go on with the parameters that are meant.
            if not path.is_file() or f"def {name.partition('[')[0]}(" not in path.read_text(encoding="utf-8"):
                raise StaleMutant(f"{self.name}: there is no test {test}")
