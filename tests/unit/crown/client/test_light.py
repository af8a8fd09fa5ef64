"""What the client needs of what is installed, and that its other half is what its source gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
# gRPC itself imports what is beside it, where it is there.
LOOK = """
import sys, grpc, grpc.aio
before = set(sys.modules)
import crown.client, crown.client.sync
found = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(found - set(sys.stdlib_module_names) - {"crown", "buf"}))
"""


def test_it_needs_no_library_of_the_services() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert set(found) == {"google", "grpc"}


def test_the_half_without_asyncio_is_what_the_other_gives() -> None:
    subprocess.run([sys.executable, "tools/sync_client.py", "--check"], cwd=ROOT, check=True, timeout=60)
