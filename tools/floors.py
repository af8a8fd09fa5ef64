"""Checks that nothing that is locked is older than requirements/floors.toml says, and that each row there is about
something. It asks nobody; `make audit` asks the advisory services about everything."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_REQUIRED = re.compile(r"^\s*(?:require )?([\w./-]+\.[\w./-]+) v([\d.]+)(?:\s|$)", re.MULTILINE)
_IMAGE = re.compile(r"^\s*image: (?:\S+/)?(mongo|nats|valkey):([\d.]+)", re.MULTILINE)
_CHART_TAG = re.compile(r"^  image: \{tag: ([\d.]+)", re.MULTILINE)
_OPERATED = re.compile(r'^  version: "([\d.]+)"', re.MULTILINE)


class Locked(NamedTuple):
    """A package that some file pins, and where."""

    name: str
    version: str
    path: str


def python(root: Path) -> Iterator[Locked]:
    """Packages of all lock files of pip."""
    for path in (*sorted((root / "requirements").glob("*.txt")), root / "examples/python/requirements.txt"):
        for name, version in _PIN.findall(path.read_text(encoding="utf-8")):
            yield _locked(root, path, name.lower(), version)


def go(root: Path) -> Iterator[Locked]:
    """Modules that have releases."""
    for path in (root / "examples/go/go.mod", root / "tools/go/go.mod"):
        for name, version in _REQUIRED.findall(path.read_text(encoding="utf-8")):
            yield _locked(root, path, name, version)


def rust(root: Path) -> Iterator[Locked]:
    """Crates."""
    path = root / "examples/rust/Cargo.lock"
    for package in tomllib.loads(path.read_text(encoding="utf-8"))["package"]:
        yield _locked(root, path, package["name"], package["version"])


def node(root: Path) -> Iterator[Locked]:
    """Packages of npm, also those that only another one has."""
    path = root / "examples/node/package-lock.json"
    for place, package in json.loads(path.read_text(encoding="utf-8"))["packages"].items():
        if place:
            yield _locked(root, path, place.rpartition("node_modules/")[2], package["version"])


def servers(root: Path) -> Iterator[Locked]:
    """The servers that compose.yaml and the manifests run."""
    folder = root / "k8s/dependencies"
    for path in (root / "compose.yaml", folder / "valkey.yaml"):
        for name, version in _IMAGE.findall(path.read_text(encoding="utf-8")):
            yield _locked(root, path, "mongodb" if name == "mongo" else name, version)
    for path, name, pattern in (
        (folder / "nats-values.yaml", "nats", _CHART_TAG),
        (folder / "mongodb.yaml", "mongodb", _OPERATED),
    ):
        for version in pattern.findall(path.read_text(encoding="utf-8")):
            yield _locked(root, path, name, version)


LOCKS: Mapping[str, Callable[[Path], Iterator[Locked]]] = {
    "python": python,
    "go": go,
    "rust": rust,
    "node": node,
    "servers": servers,
}


def problems(floors: Mapping[str, Mapping[str, Any]], root: Path = ROOT) -> list[str]:
    """What is too old, and which rows are about nothing, a line each."""
    found = [f"{group}: nobody knows where that is locked" for group in floors if group not in LOCKS]
    for group, rows in floors.items():
        locked = [one for one in LOCKS[group](root) if one.name in rows] if group in LOCKS else []
        found += [
            f"{one.path}: {one.name} {one.version} is older than {rows[one.name]['least']}: "
            f"{rows[one.name]['advisory']}"
            for one in locked
            if _is_older(one.version, rows[one.name]["least"])
        ]
        found += [f"{name}: is locked nowhere" for name in rows if name not in {one.name for one in locked}]
    return found


def _is_older(version: str, least: str) -> bool:
    """A tag of fewer parts than `least`, such as 9 or 8.0, stands for the newest that begins so."""
    if f"{least}.".startswith(f"{version}."):
        return False
    return Version(version) < Version(least)


def _locked(root: Path, path: Path, name: str, version: str) -> Locked:
    return Locked(name, version, str(path.relative_to(root)))


def main() -> int:
    floors = tomllib.loads((ROOT / "requirements/floors.toml").read_text(encoding="utf-8"))
    found = problems(floors)
    for problem in found:
        print(f"floors: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
