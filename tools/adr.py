"""Checks docs/adr/: numbers are unique and stand in the title, each record has a date and a known status."""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "adr"

STATUSES = ("Proposed", "Approved", "Partially Implemented", "Implemented", "Deprecated")
SECTIONS = ("Context", "Decision", "Consequences")


def problems_of(path: Path, text: str) -> list[str]:
    """What is wrong with one record, each as a phrase."""
    number = path.name.partition("-")[0]
    found = []
    if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name):
        found.append("the file is not named NNNN-words-of-the-title.md")
    if not text.startswith(f"# {int(number) if number.isdecimal() else number}. "):
        found.append("the title does not start with its number")
    if not re.search(r"^\| Date \| \d{4}-\d{2}-\d{2} \|", text, re.MULTILINE):
        found.append("no row | Date | YYYY-MM-DD |")
    status = re.search(r"^\| Status \| ([^|]+) \|", text, re.MULTILINE)
    if status is None or status[1].strip() not in STATUSES:
        found.append(f"no row | Status | one of {', '.join(STATUSES)} |")
    found += [f"no section {name}" for name in SECTIONS if f"\n## {name}" not in text]
    return found


def main(folder: Path) -> int:
    records = sorted(path for path in folder.glob("*.md") if path.name != "template.md")
    wrong = [f"{path.name}: {one}" for path in records for one in problems_of(path, path.read_text())]
    numbers = [path.name.partition("-")[0] for path in records]
    wrong += [f"{number} is given twice" for number in sorted(set(numbers)) if numbers.count(number) > 1]
    for line in wrong:
        print(f"check-adr: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:2]) if sys.argv[1:] else FOLDER))
