"""Locks: everything that is installed is known by its hash, and no lock says where to get it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = [*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "examples/python/requirements.txt"]
ADDRESS = re.compile(
    r"https?://|git\+|^\s*-i\b|--(?:extra-)?index-url|--find-links|--trusted-host", re.MULTILINE
)


def pinned(text: str) -> list[str]:
    """The requirements of a lock, each with what its line goes on to say."""
    without_comments = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    return [one for one in re.split(r"\n(?=\S)", without_comments) if one.strip()]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_has_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    requirements = pinned(text)
    assert requirements
    assert ADDRESS.findall(text) == []
    bad = [
        one.splitlines()[0]
        for one in requirements
        if not re.match(r"[a-z0-9][a-z0-9._-]*==\S+", one)
        or not re.search(r"--hash=sha256:[0-9a-f]{64}", one)
    ]
    assert bad == []


def test_what_a_lock_must_not_have_is_found() -> None:
    lines = "--index-url x\naiohttp==3 \\\n    --hash=sha256:" + "0" * 64 + "\n    # via x\nh11==1\n"
    assert ADDRESS.findall(lines)
    assert [one.partition("=")[0] for one in pinned(lines)[1:]] == ["aiohttp", "h11"]


def test_crates_have_checksums_and_come_from_the_usual_place() -> None:
    lock = tomllib.loads((ROOT / "examples/rust/Cargo.lock").read_text())
    foreign = [one for one in lock["package"] if "source" in one]
    assert foreign
    assert {one["source"] for one in foreign} == {"registry+https://github.com/rust-lang/crates.io-index"}
    assert [one["name"] for one in foreign if not one.get("checksum")] == []


def test_npm_packages_have_checksums_and_no_address_of_others() -> None:
    lock = json.loads((ROOT / "examples/node/package-lock.json").read_text())
    foreign = {name: one for name, one in lock["packages"].items() if name}
    assert foreign
    assert [name for name, one in foreign.items() if not one.get("integrity", "").startswith("sha512-")] == []
    places = {one["resolved"].split("/")[2] for one in foreign.values() if "resolved" in one}
    assert places <= {"registry.npmjs.org"}


@pytest.mark.parametrize("folder", ["examples/go", "tools/go"])
def test_go_modules_have_checksums(folder: str) -> None:
    required = re.findall(
        r"^\s*(?:require )?(\S+\.\S+/\S+) (v\S+)", (ROOT / folder / "go.mod").read_text(), re.MULTILINE
    )
    sums = (ROOT / folder / "go.sum").read_text()
    assert required
    assert [name for name, version in required if f"{name} {version}/go.mod h1:" not in sums] == []
    assert not re.search(r"^replace", (ROOT / folder / "go.mod").read_text(), re.MULTILINE)
