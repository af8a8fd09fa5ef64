"""What is locked is looked up in copies of advisory databases, each in its own form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.version import Version

from tools import advisories
from tools.advisories import Advisory, findings, main
from tools.floors import ROOT, Locked

PYPA = """
id: PYSEC-1
affected:
- package: {name: Some_Package, ecosystem: PyPI}
  ranges:
  - type: GIT
    events: [{introduced: "0"}]
  - type: ECOSYSTEM
    events: [{introduced: "1.0"}, {fixed: "1.4"}, {introduced: "2.0"}, {last_affected: "2.1"}]
  versions: ["0.7"]
"""
RUSTSEC = """```toml
[advisory]
id = "RUSTSEC-1"
package = "crate"

[versions]
patched = ["^0.4.2", ">= 0.6.0, < 0.7.0", ">= 0.7.3"]
unaffected = ["< 0.3.0", "= 0.5.0", "~0.5.2"]
```

# A text
"""
GO = {
    "id": "GO-1",
    "affected": [
        {
            "package": {"name": "example.org/module"},
            "ranges": [
                {
                    "type": "SEMVER",
                    "events": [{"introduced": "0"}, {"fixed": "0.0.0-20200101000000-abcdefabcdef"}],
                },
                {"type": "SEMVER", "events": [{"introduced": "1.2.0-rc.1"}, {"fixed": "1.2.5"}]},
            ],
        }
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of each database."""
    for path, text in {
        "advisory-database/vulns/some-package/PYSEC-1.yaml": PYPA,
        "advisory-database/vulns/some-package/PYSEC-2.yaml": PYPA.replace("PYSEC-1", "PYSEC-2")
        + "withdrawn: '2024-01-01T00:00:00Z'\n",
        "advisory-db/crates/crate/RUSTSEC-1.md": RUSTSEC,
        "advisory-db/crates/crate/RUSTSEC-2.md": RUSTSEC.replace(
            'package = "crate"', 'package = "crate"\ninformational = "unmaintained"'
        ),
        "vulndb/data/osv/GO-1.json": json.dumps(GO),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def hit(found: list[Advisory], version: str) -> set[str]:
    return {one.id for one in found if one.hits(Version(version))}


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("0.6", False), ("0.7", True), ("1.0", True), ("1.3.9", True), ("1.4", False), ("2.0", True),
        ("2.1", True), ("2.1.1", False), ("3", False),
    ],
)  # fmt: skip
def test_python(folder: Path, version: str, known: bool) -> None:
    found = list(advisories.pypa(folder / "advisory-database"))
    assert {one.package for one in found} == {"some-package"}
    assert hit(found, version) == ({"PYSEC-1"} if known else set())


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("0.2.9", False), ("0.3.0", True), ("0.4.1", True), ("0.4.2", False), ("0.4.9", False), ("0.5.0", False),
        ("0.5.1", True), ("0.5.3", False), ("0.6.5", False), ("0.7.0", True), ("0.7.3", False), ("1.0.0", False),
    ],
)  # fmt: skip
def test_rust(folder: Path, version: str, known: bool) -> None:
    found = list(advisories.rust(folder / "advisory-db"))
    assert hit(found, version) == ({"RUSTSEC-1"} if known else set())


@pytest.mark.parametrize(
    ("version", "known"),
    [("0.0.1", False), ("1.1.9", False), ("1.2.0", True), ("1.2.4", True), ("1.2.5", False)],
)
def test_go(folder: Path, version: str, known: bool) -> None:
    found = list(advisories.go(folder / "vulndb"))
    assert hit(found, version) == ({"GO-1"} if known else set())


def test_a_finding_says_what_and_where(folder: Path) -> None:
    found = findings(
        [
            Locked("some-package", "1.1", "a.txt"),
            Locked("other", "1.1", "a.txt"),
            Locked("some-package", "9", "b.txt"),
        ],
        advisories.pypa(folder / "advisory-database"),
    )
    assert found == ["a.txt: some-package 1.1: PYSEC-1"]


def test_it_looks_up_what_is_locked_here(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked = next(iter(advisories.python(ROOT)))
    path = folder / "advisory-database/vulns/x/PYSEC-3.yaml"
    path.parent.mkdir()
    path.write_text(
        PYPA.replace("PYSEC-1", "PYSEC-3").replace("Some_Package", locked.name).replace("0.7", locked.version)
    )
    assert main([str(folder)]) == 1
    told = capsys.readouterr().out
    assert f"{locked.name} {locked.version}: PYSEC-3" in told
    path.unlink()
    assert main([str(folder)]) == 0


def test_without_a_database_nothing_was_asked(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 2
