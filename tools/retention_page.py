"""Writes docs/retention.md from the table of crown/kept.py. With --check it compares instead, and fails where the
page is not what the table gives."""

from __future__ import annotations

import sys
from pathlib import Path

from crown.kept import TABLE, Kept, Where
from tools.made import keep

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "retention.md"
_HEAD = """\
# What is kept

Everything that the suite keeps, for how long, and what erasing a person does to it. The page is made from the table
of `crown/kept.py` by `python -m tools.retention_page`; tests hold the table against the collections and their
indexes, the streams, and the keys in Redis. [people.md](people.md) tells how to erase, and how to export.

Sealed means: encrypted under a key that is the person's own, or, where it says so, under the deployment's data key,
which none of the stores has. Services keep no files: they write neither addresses nor content to their logs, and what
is rendered stays in memory.
"""
_COLUMNS = "| {name} | of a person | until | erased | exported |\n| --- | --- | --- | --- | --- |\n"
_NAMES = {Where.MONGODB: "collection", Where.NATS: "stream", Where.REDIS: "keys that begin with"}


def page() -> str:
    """The text of the page."""
    parts = [_HEAD]
    for where in Where:
        parts.append(f"\n## {where.value}\n\n{_COLUMNS.format(name=_NAMES[where])}")
        parts += [_row(kept) for kept in TABLE if kept.where is where]
    return "".join(parts)


def _row(kept: Kept) -> str:
    exported = ", ".join(f"`{field}`" for field in kept.exported)
    after = f" ({_span(kept.kept_s)})" if kept.kept_s else ""
    cells = [
        f"`{kept.name}`",
        kept.of_a_person or "nothing",
        f"{kept.until}{after}",
        kept.erased or "nothing to do",
        exported or (f"no: {kept.not_exported}" if kept.not_exported else ""),
    ]
    return f"| {' | '.join(cells)} |\n"


def _span(seconds: int) -> str:
    hours = seconds // 3_600
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it."""
    return keep({PAGE: page()}, "crown/kept.py", "tools.retention_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
