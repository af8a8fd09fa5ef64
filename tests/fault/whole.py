"""The end of `make fault`: whether each fault that the committed table has gave figures again, and how long all took.

python -m tests.fault.whole SECONDS"""

from __future__ import annotations

import json
import subprocess
import sys

from tests import figures
from tests.fault.table import NAME


def committed() -> list[str]:
    """The rows of the table in the last commit; none where there is no such table."""
    path = f"HEAD:./{NAME}.json"
    found = subprocess.run(["git", "show", path], cwd=figures.FOLDER, capture_output=True, text=True)
    if found.returncode:
        return []
    return [row["cells"][0] for row in json.loads(found.stdout)["rows"]]


def missing(took_s: float) -> str:
    """Says which rows are missing; empty: none. Whoever has renamed or removed a fault commits the table without
    it."""
    names = figures.whole(NAME, committed(), took_s)
    return "\n".join(f"fault: no figures, and there were some before: {name}" for name in names)


if __name__ == "__main__":
    sys.exit(missing(float(sys.argv[1])) or None)
