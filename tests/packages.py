"""Packages from npm for the tests that run scripts in Node."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import subprocess
from pathlib import Path

_LIMIT_S = 100.0


async def install(folder: Path) -> None:
    """Installs what the package-lock.json in `folder` names, where that is not done or has changed."""
    await asyncio.to_thread(_install, folder)


def _install(folder: Path) -> None:
    wanted, installed = folder / "package-lock.json", folder / "node_modules" / ".installed"
    with wanted.open() as lock:
        # Two test runs may come here at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = wanted.read_text()
        if installed.exists() and installed.read_text() == text:
            return
        npm = shutil.which("npm")
        assert npm, "Node is missing: `make node` sees to it"
        command = (npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        subprocess.run(command, cwd=folder, check=True, timeout=_LIMIT_S)
        installed.write_text(text)
