"""Checks the tables of claims in the README and in docs/security.md: each names a test that is there, or a target of
the Makefile. A test may be one of a class, and may have the parameters that it is called with."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/security.md")
_HEAD = ["claim", "shown by"]
_CODE = re.compile(r"`([^`]+)`")
_TARGET = re.compile(r"^([a-z0-9-]+):(?!=)", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")


class Claim(NamedTuple):
    """A row of a table: its line on the page, what it claims, and what shows it."""

    line: int
    text: str
    shown_by: list[str]


def claims(page: str) -> Iterator[Claim]:
    """The rows of all tables whose head says `claim` and `shown by`."""
    in_table = False
    for number, line in enumerate(page.splitlines(), start=1):
        if not line.startswith("|"):
            in_table = False
            continue
        cells = [cell.strip() for cell in _CELLS.split(line.strip().strip("|"))]
        if cells == _HEAD:
            in_table = True
        elif in_table and set(line) - set("|-: "):
            yield Claim(number, cells[0], _CODE.findall(cells[-1]) if len(cells) == len(_HEAD) else [])


def problems(page: str, root: Path = ROOT) -> list[str]:
    """What is wrong with the page, a line each."""
    found = []
    for claim in claims(page):
        if not claim.text or not claim.shown_by:
            found.append(f"line {claim.line}: a claim and, in backticks, what shows it are both needed")
        found += [
            f"line {claim.line}: {one}: {why}" for one in claim.shown_by if (why := _missing(one, root))
        ]
    return found


def _missing(shown_by: str, root: Path) -> str:
    """Why `shown_by` shows nothing; empty where it does."""
    if shown_by.startswith("make "):
        wanted = set(shown_by.split()[1:])
        return "the Makefile has no such target" if wanted - _targets(root) else ""
    place, _, name = shown_by.partition("[")[0].partition("::")
    if not re.fullmatch(r"tests/(?:[\w.-]+/)*test_\w+\.py", place):
        return "is neither a test nor a target of the Makefile"
    if not (root / place).is_file():
        return "there is no such file"
    if name.split("::")[-1].startswith("test_") and name in _tests(root / place):
        return ""
    return "there is no such test in the file"


@cache
def _targets(root: Path) -> frozenset[str]:
    return frozenset(_TARGET.findall((root / "Makefile").read_text(encoding="utf-8")))


@cache
def _tests(path: Path) -> frozenset[str]:
    """Names of the functions in a file, those of its classes after the class and two colons."""
    return frozenset(_functions(ast.parse(path.read_text(encoding="utf-8")), ""))


def _functions(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for inner in node.body:
        if isinstance(inner, ast.ClassDef):
            yield from _functions(inner, f"{prefix}{inner.name}::")
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{inner.name}"


def main() -> int:
    """Tells of all pages."""
    found = [
        f"{page}, {problem}"
        for page in PAGES
        for problem in problems((ROOT / page).read_text(encoding="utf-8"))
    ]
    for problem in found:
        print(f"claims: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
