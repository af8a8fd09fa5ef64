"""A loop that stands still ends its process; one that is merely busy does not."""

from __future__ import annotations

import subprocess
import sys

from crown import watchdog

PROGRAM = """
import asyncio, time
from crown.watchdog import watching

async def main():
    with watching(1.0, 0.05):
        for _ in range(4):
            time.sleep(0.4)
            await asyncio.sleep(0.1)
        while {hangs}:
            pass

asyncio.run(main())
"""


def run(*, hangs: bool) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(hangs=hangs)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_an_endless_loop_ends_and_tells_where_it_was() -> None:
    ended = run(hangs=True)
    assert ended.returncode == watchdog.STATUS
    assert "in main" in ended.stderr


def test_one_that_is_busy_goes_on() -> None:
    assert run(hangs=False).returncode == 0
