"""What is in the image, without an engine: the wheel as the Dockerfile builds it, installed where nothing else is
but the packages of requirements/runtime.txt."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.image import dockerfile

ROOT = Path(__file__).parents[2]
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==", re.M)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what is in the working tree, as `docker build` would."""
    folder = tmp_path_factory.mktemp("wheel")
    # In a copy, since building leaves folders behind that a later build would take files from.
    source = folder / "source"
    for name in dockerfile.copied():
        _copy(ROOT / name, source / name)
    command = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    _pip(*command)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def image(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a virtual environment that has what the image's has, and nothing else."""
    folder = tmp_path_factory.mktemp("image")
    made = folder / "venv"
    venv.create(made, with_pip=False)
    packages = folder / "packages"
    packages.mkdir()
    _link_locked(packages)
    (site,) = made.glob("lib/python*/site-packages")
    (site / "locked.pth").write_text(f"{packages}\n")
    _pip("--python", str(made / "bin" / "python"), "install", "--quiet", "--no-deps", str(wheel))
    return made


@pytest.fixture
def environment(image: Path, tmp_path: Path) -> dict[str, str]:
    """What the Dockerfile sets; only the folders are of the test."""
    given = dockerfile.variables()
    path = given["PATH"].replace("/opt/crown", str(image)).replace("$PATH", os.defpath)
    return {**given, "PATH": path, "CROWN_STACK_HOME": str(tmp_path)}


def _link_locked(folder: Path) -> None:
    """Puts the packages of the lock, and of them only, into `folder`."""
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    for name in _LOCKED.findall(lock):
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            # Some are for another Python than this one.
            continue
        for path in found.files or ():
            top = path.parts[0]
            link = folder / top
            if top not in {"..", "__pycache__"} and not link.is_symlink():
                link.symlink_to(str(found.locate_file(top)))


def _copy(source: Path, target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", str(source)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert listed, f"there is no {source}"
    for name in listed:
        original = ROOT / name
        copy = target if original == source else target / original.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(original.read_bytes())


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2_000:]
