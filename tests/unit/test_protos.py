"""The contract stays compatible with what was released, and what is vendored is what its authors published."""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"
VENDORED = [line.split() for line in (ROOT / "protos" / "vendored.sha256").read_text().splitlines()]


def breaking(folder: Path) -> subprocess.CompletedProcess[str]:
    """What buf says of the contract in `folder` beside the released one."""
    return subprocess.run(
        [BUF, "breaking", "--against", str(ROOT / "protos" / "released.binpb")],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def test_the_contract_breaks_nothing() -> None:
    found = breaking(ROOT)
    assert found.returncode == 0, found.stdout


def test_a_renumbered_field_is_noticed(copy: Path) -> None:
    file = copy / "protos/crown/notification/v1/ingest_service.proto"
    text = file.read_text()
    assert "string kind = 6 [" in text
    file.write_text(text.replace("string kind = 6 [", "string kind = 60 ["))
    found = breaking(copy)
    assert found.returncode != 0
    assert "kind" in found.stdout


def test_a_renamed_field_is_noticed(copy: Path) -> None:
    file = copy / "protos/crown/notification/v1/inbox_service.proto"
    file.write_text(file.read_text().replace("string next_cursor = 5", "string following = 5"))
    assert breaking(copy).returncode != 0


@pytest.mark.parametrize(("digest", "name"), VENDORED, ids=lambda value: value[-40:])
def test_a_vendored_file_is_unchanged_and_licensed(digest: str, name: str) -> None:
    content = (ROOT / "protos" / name).read_bytes()
    assert sha256(content).hexdigest() == digest
    assert b"Licensed under the Apache License" in content


def test_every_vendored_file_is_listed() -> None:
    folder = ROOT / "protos"
    there = {
        str(path.relative_to(folder))
        for part in ("google", "buf")
        for path in (folder / part).rglob("*.proto")
    }
    assert there == {name for _, name in VENDORED}
