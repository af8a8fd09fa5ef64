"""What is locked is not older than what is known to be sound."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools import floors

ROOT = Path(__file__).resolve().parents[3]
TABLE = tomllib.loads((ROOT / "requirements/floors.toml").read_text())
FILES = {
    "requirements/dev.txt": "aiohttp==3.14.5 \\\n    --hash=sha256:0\nh11==0.16.0 ; python_version < '4'\n",
    "requirements/node.txt": "",
    "examples/python/requirements.txt": "aiohttp==3.14.6 \\\n",
    "examples/go/go.mod": "require (\n\tgolang.org/x/net v0.62.0 // indirect\n\tgolang.org/x/new v0.0.0-2026-a\n)\n",
    "tools/go/go.mod": "require google.golang.org/grpc v1.83.2\n",
    "examples/rust/Cargo.lock": '[[package]]\nname = "h2"\nversion = "0.4.20"\n',
    "examples/node/package-lock.json": '{"packages": {"": {}, "node_modules/a/node_modules/@b/c": '
    '{"version": "2.1.0"}}}',
    "compose.yaml": "    image: mongo:8.0\n    image: valkey/valkey:9-alpine\n",
    "k8s/dependencies/valkey.yaml": "          image: valkey/valkey:9.0.4-alpine\n",
    "k8s/dependencies/nats-values.yaml": "  image: {tag: 2.15-alpine}\n",
    "k8s/dependencies/mongodb.yaml": '  version: "8.0.24"\n',
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one or two packages in each lock."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def row(group: str, name: str, least: str) -> dict[str, Any]:
    return {group: {name: {"least": least, "advisory": "CVE-1"}}}


def test_nothing_of_ours_is_too_old() -> None:
    assert floors.problems(TABLE) == []


def test_every_row_names_its_advisory() -> None:
    rows = [(name, one["advisory"]) for group in TABLE.values() for name, one in group.items()]
    assert [name for name, advisory in rows if not advisory.startswith(("CVE-", "GHSA-", "RUSTSEC-"))] == []


@pytest.mark.parametrize(
    ("group", "name", "least"),
    [
        ("python", "aiohttp", "3.14.5"),
        ("python", "h11", "0.9.0"),
        ("go", "golang.org/x/net", "0.62.0"),
        ("go", "google.golang.org/grpc", "1.9.0"),
        ("rust", "h2", "0.4.4"),
        ("node", "@b/c", "2.1.0"),
        ("servers", "valkey", "9.0.4"),
        ("servers", "mongodb", "8.0.24"),
        ("servers", "nats", "2.14.3"),
    ],
)
def test_what_is_new_enough_passes(root: Path, group: str, name: str, least: str) -> None:
    assert floors.problems(row(group, name, least), root) == []


@pytest.mark.parametrize(
    ("group", "name", "least", "where"),
    [
        ("python", "aiohttp", "3.14.6", "requirements/dev.txt: aiohttp 3.14.5"),
        ("python", "h11", "0.17", "requirements/dev.txt: h11 0.16.0"),
        ("go", "golang.org/x/net", "0.100.0", "examples/go/go.mod"),
        ("go", "google.golang.org/grpc", "1.83.3", "tools/go/go.mod"),
        ("rust", "h2", "0.4.21", "examples/rust/Cargo.lock"),
        ("node", "@b/c", "2.1.1", "examples/node/package-lock.json"),
        ("servers", "valkey", "9.0.5", "k8s/dependencies/valkey.yaml"),
        ("servers", "mongodb", "8.0.25", "k8s/dependencies/mongodb.yaml"),
        ("servers", "nats", "2.16.0", "k8s/dependencies/nats-values.yaml"),
    ],
)
def test_what_is_older_is_named_with_its_place(
    root: Path, group: str, name: str, least: str, where: str
) -> None:
    (problem,) = floors.problems(row(group, name, least), root)
    assert problem.startswith(where)
    assert "CVE-1" in problem


def test_a_row_about_nothing_is_told(root: Path) -> None:
    assert floors.problems(row("python", "heron", "1"), root) == ["heron: is locked nowhere"]
    assert "nobody knows" in floors.problems(row("perl", "heron", "1"), root)[0]
