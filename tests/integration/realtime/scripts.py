"""Clients from npm, unchanged, in Node processes of their own: each script says what happens, one JSON object a
line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import packages

FOLDER = Path(__file__).parents[2] / "js"
LIMIT_S = 30.0


async def install() -> None:
    """What package-lock.json names, anew where it has changed."""
    await packages.install(FOLDER)


@dataclass
class Script:
    """A script, while it runs."""

    process: asyncio.subprocess.Process
    steps: list[tuple[str, Any]] = field(default_factory=list)

    async def until(self, end: str) -> Any:
        """Reads on until this step, and answers what it says."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            async for line in self.process.stdout:
                if not line.startswith(b'{"step"'):
                    continue  # a library's own words
                found = json.loads(line)
                self.steps.append((found["step"], found["data"]))
                if found["step"] == end:
                    return found["data"]
        raise AssertionError(f"no {end!r} in {self.steps}")

    def tell(self, word: str) -> None:
        """Says something to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())

    def said(self, step: str) -> list[Any]:
        """All that was said at this step."""
        return [data for name, data in self.steps if name == step]


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Script]:
    """Runs a script; it is killed where it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        "node",
        *command,
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Script(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
