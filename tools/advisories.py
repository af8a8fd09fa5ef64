"""Looks up everything that is locked in copies of advisory databases, without a network: `python -m tools.advisories
FOLDER`, where FOLDER holds a checkout of any of `advisory-database` (the PyPA's, for Python), `vulndb` (Go's) and
`advisory-db` (RustSec's). Prints each finding, and how many packages each database was asked about; fails where there
is a finding or no database. With --publish the counts are kept in docs/figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tools import floors
from tools.floors import ROOT, Locked

# What is about parts of a package that nothing here imports, with those parts.
_NOT_OURS = {"GO-2026-5932": "golang.org/x/crypto/openpgp"}
_TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Advisory(NamedTuple):
    """What is known against a package: `hits` says whether a version has it."""

    id: str
    package: str
    hits: Callable[[Version], bool]


# -- the databases


def pypa(folder: Path) -> Iterator[Advisory]:
    """The PyPA's: OSV in YAML, a file each."""
    for path in sorted(folder.glob("vulns/*/*.yaml")):
        yield from _osv(yaml.load(path.read_bytes(), yaml.CSafeLoader), "ECOSYSTEM", canonicalize_name)


def go(folder: Path) -> Iterator[Advisory]:
    """Go's: OSV in JSON, a file each."""
    for path in sorted(folder.glob("data/osv/*.json")):
        yield from _osv(json.loads(path.read_bytes()), "SEMVER", str)


def rust(folder: Path) -> Iterator[Advisory]:
    """RustSec's: TOML at the head of a text, a file each. What is only no longer maintained is no weakness."""
    for path in sorted(folder.glob("crates/*/*.md")):
        found = _TOML.search(path.read_text(encoding="utf-8"))
        told = tomllib.loads(found[1]) if found else {}
        advisory = told.get("advisory", {})
        if not advisory or "informational" in advisory or "withdrawn" in advisory:
            continue
        sound = [_range(one) for name in ("patched", "unaffected") for one in told["versions"].get(name, [])]
        yield Advisory(advisory["id"], advisory["package"], _outside(sound))


def _osv(told: Mapping[str, Any], kind: str, named: Callable[[str], str]) -> Iterator[Advisory]:
    if told.get("withdrawn"):
        return
    for affected in told.get("affected", ()):
        listed = {version for one in affected.get("versions", ()) if (version := _version(one)) is not None}
        events = [one["events"] for one in affected.get("ranges", ()) if one["type"] == kind]
        yield Advisory(told["id"], named(affected["package"]["name"]), _within(listed, events))


def _within(listed: set[Version], ranges: Iterable[Iterable[Mapping[str, str]]]) -> Callable[[Version], bool]:
    spans = [span for events in ranges for span in _spans(events)]
    return lambda version: (
        version in listed or any(first <= version and (end is None or version < end) for first, end in spans)
    )


def _spans(events: Iterable[Mapping[str, str]]) -> Iterator[tuple[Version, Version | None]]:
    """From which version on, and up to which that no longer has it; None: every later one has."""
    first: Version | None = None
    for event in events:
        if "introduced" in event:
            first = _version(event["introduced"])
        elif first is not None:
            fixed = _version(event.get("fixed", ""))
            last = _version(event.get("last_affected", ""))
            yield (
                first,
                fixed if fixed is not None else Version(f"{last}.post0") if last is not None else None,
            )
            first = None
    if first is not None:
        yield first, None


def _outside(sound: list[SpecifierSet]) -> Callable[[Version], bool]:
    return lambda version: not any(one.contains(version, prereleases=True) for one in sound)


def _range(written: str) -> SpecifierSet:
    """A range of Cargo's as one of Python's."""
    return SpecifierSet(",".join(part for one in written.split(",") for part in _part(one.strip())))


def _part(one: str) -> Iterator[str]:
    sign = re.match(r"[<>=^~]*", one)
    operator, version = (sign[0] if sign else ""), one.lstrip("<>=^~ ")
    if operator in ("", "^"):
        yield f">={version}"
        yield f"<{_next(version)}"
    elif operator == "~":
        yield f">={version}"
        yield f"=={'.'.join(version.split('.')[:2])}.*"
    else:
        yield f"{'==' if operator == '=' else operator}{version}"


def _next(version: str) -> str:
    """The first version that a caret range leaves out: the leftmost number that is not 0 grows."""
    parts = [int(part) for part in re.split(r"[-+]", version)[0].split(".")]
    at = next((place for place, part in enumerate(parts) if part), len(parts) - 1)
    return ".".join(map(str, [*parts[:at], parts[at] + 1]))


def _version(text: str) -> Version | None:
    """A version; one of Go's or Cargo's that is not out yet comes before what stands before its dash. None: it is
    none."""
    for one in (text, f"{text.partition('-')[0]}.dev0"):
        try:
            return Version(one)
        except InvalidVersion:
            continue
    return None


# -- what is locked


def findings(locked: Iterable[Locked], advisories: Iterable[Advisory]) -> list[str]:
    """A line for each package that is locked and has something against it."""
    known: dict[str, list[Advisory]] = {}
    for advisory in advisories:
        known.setdefault(advisory.package, []).append(advisory)
    return [
        f"{one.path}: {one.name} {one.version}: {advisory.id}"
        for one in locked
        for advisory in known.get(one.name, ())
        if advisory.id not in _NOT_OURS
        if (version := _version(one.version)) is not None and advisory.hits(version)
    ]


def python(root: Path) -> Iterator[Locked]:
    """As floors has them, by the names that the database uses."""
    return (one._replace(name=canonicalize_name(one.name)) for one in floors.python(root))


Locks = Callable[[Path], Iterator[Locked]]
DATABASES: Mapping[str, tuple[str, Locks, Callable[[Path], Iterator[Advisory]]]] = {
    "advisory-database": ("Python", python, pypa),
    "vulndb": ("Go", floors.go, go),
    "advisory-db": ("Rust", floors.rust, rust),
}


def age(folder: Path) -> str:
    """The day of the newest commit of a checkout; empty where it is none."""
    command = ["git", "-C", str(folder), "log", "-1", "--format=%cs"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main(arguments: list[str]) -> int:
    """0 where something was asked and nothing was found."""
    folder = Path(arguments[0])
    rows, status = [], 0
    for name, (language, locks, database) in DATABASES.items():
        if not (folder / name).is_dir():
            print(f"advisories: {language} was not looked at: there is no {name}", file=sys.stderr)
            continue
        locked, advisories = list(locks(ROOT)), list(database(folder / name))
        found = sorted(set(findings(locked, advisories)))
        print(*(f"advisories: {one}" for one in found), sep="\n", end="\n" if found else "")
        packages = len({(one.name, one.version) for one in locked})
        rows.append(
            (
                language,
                f"{packages}",
                f"{len({one.id for one in advisories}):,}",
                age(folder / name),
                f"{len(found)}",
            )
        )
        status = 1 if found else status
    for row in rows:
        print("advisories: {}: {} packages, {} advisories up to {}: {} findings".format(*row))
    if "--publish" in arguments and rows:
        # Late: only who publishes has the tests beside it.
        from tests import figures

        columns = ("packages of", "looked up", "advisories", "of", "findings")
        command = "python -m tools.advisories FOLDER --publish"
        figures.publish("advisories", columns, rows, command=command)
    return status if rows else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
