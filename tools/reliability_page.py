"""Makes docs/reliability.md of the figures in docs/figures/; with --check, says whether it is what they give."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tools.made import keep

_DOCS = Path(__file__).parent.parent / "docs"
_PAGE = _DOCS / "reliability.md"

_HEAD = """\
# Reliability in figures

What is promised stands in [delivery.md](delivery.md), and what breaks in which test in [faults.md](faults.md). Here
is what was counted when it was put to the test. The page is made of `docs/figures/` by
`python -m tools.reliability_page`, and the figures by the command above each table.
"""

# Each table: the name of its file, its title, and what to know of it.
_TABLES: tuple[tuple[str, str, str], ...] = (
    (
        "faults",
        "Faults",
        "Load runs while something breaks, and an offline checker judges afterwards what clients, providers and "
        "stores have written down. *Lost*: accepted, and ended nowhere. *Duplicates*: effects too many at a "
        "provider; a fault may cost at most what was in flight. *Detect*: until /readyz or the supervisor said that "
        "something is away; *recover*: until all was healthy again, both from the fault; *drain*: from then until "
        "everything had ended. Before a fault is what had ended when it began, after it what began later. A cell is "
        "empty where a run does not count that. Providers are late by 200 ms where processes are killed.",
    ),
    (
        "mutants",
        "Mutants",
        "Each is one small wrong change to a copy of the code, and the test that fails because of it.",
    ),
    (
        "access",
        "Who may call what",
        "Every kind of caller against every call, topic and callback, as the rules in the protos have it.",
    ),
    (
        "inputs",
        "Hostile input",
        "Inputs that were tried, and answers that were no clear refusal.",
    ),
    (
        "memory",
        "Memory under hostile input",
        "What each process holds before and after inputs of REST, gRPC and gRPC-Web, and the slope of a line through"
        " a hundred looks, the first two fifths left out.",
    ),
    (
        "advisories",
        "What is known against what we build on",
        "Every package that is locked, looked up in copies of the advisory databases, which are as old as the table "
        "says. `FOLDER` has a checkout of each: `advisory-database` of the PyPA, `vulndb` of Go, `advisory-db` of "
        "RustSec. What is newer, and packages of npm, only `make audit` with a network asks about.",
    ),
)


def page() -> str:
    """The page as text."""
    parts = [_HEAD]
    for name, title, about in _TABLES:
        path = _DOCS / "figures" / f"{name}.json"
        if path.exists():
            parts.append(_section(title, about, json.loads(path.read_text(encoding="utf-8"))))
    return "\n".join(parts)


def _section(title: str, about: str, table: dict[str, Any]) -> str:
    lines = [
        f"## {title}",
        "",
        about,
        "",
        f"`{table['command']}`; {table['machine']}; {_when(table)}.",
        "",
        _line(table["columns"]),
        _line(["---"] * len(table["columns"])),
        *(_line(row["cells"]) for row in table["rows"]),
    ]
    return "\n".join(lines) + "\n"


def _when(table: dict[str, Any]) -> str:
    """The days, how long it took where that was all of it, and the commits, + where files had changed since; with
    how many rows are of each where not all are of one."""
    days = sorted({row["made"] for row in table["rows"]})
    commits = Counter(row["commit"] for row in table["rows"] if row.get("commit"))
    parts = [days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"]
    if "took_s" in table:
        parts.append(f"in {table['took_s'] // 60} min {table['took_s'] % 60} s")
    if commits:
        all_of_it = len(table["rows"])
        told = (
            f"`{one}`" if count == all_of_it else f"`{one}` ({count} of {all_of_it} rows)"
            for one, count in commits.most_common()
        )
        parts.append(f"at commit {', '.join(told)}")
    return " ".join(parts)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it."""
    return keep({_PAGE: page()}, "docs/figures/", "tools.reliability_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
