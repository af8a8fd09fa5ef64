"""`python -m tests.trust.access_figures`: runs every test of access, and publishes how many cells each surface has
and how many were answered otherwise than the rules say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import figures
from tests.trust import matrix

_COMMAND = "python -m tests.trust.access_figures"


def main() -> int:
    """The status of the tests; nothing is published where none ran."""
    here = Path(__file__).parent
    status = int(pytest.main(["-q", *sorted(str(path) for path in here.glob("test_access*.py"))]))
    rows = [
        (surface, f"{matrix.CELLS[surface]:,}", f"{matrix.WRONG[surface]:,}")
        for surface in sorted(matrix.CELLS)
    ]
    total = ("**all**", f"{matrix.CELLS.total():,}", f"{matrix.WRONG.total():,}")
    if rows:
        figures.publish("access", ("surface", "cells", "answered wrongly"), [*rows, total], command=_COMMAND)
    return status


if __name__ == "__main__":
    sys.exit(main())
