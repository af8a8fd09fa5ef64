"""Proves that a change of the contract which breaks an example is noticed: in a copy of the protos a field that the
examples use has another name, and there the build of an example has to fail, saying so."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools import examples
from tools.examples import ROOT, Failed

# Whose build reads the contract in seconds, since what it needs of others is kept outside the repository.
COMPILED = ("go",)

LIMIT_S = 300
_FILE = Path("protos/crown/notification/v1/ingest_service.proto")
_FIELD, _RENAMED = "string idempotency_key = 10", "string retry_key = 10"


def must_break(names: list[str]) -> None:
    """Raises Failed where one of these is built against the changed contract as if nothing had happened."""
    for name in names:
        root = _copy(name)
        try:
            examples.build([name], LIMIT_S, lambda *_: None, root, label="changed")
        except Failed as failure:
            if "IdempotencyKey" not in str(failure):
                raise
            print(f"clients: with a field of the contract renamed, {name} is not built", flush=True)
        else:
            raise Failed(f"{name} was built although a field that it uses is gone", root / _FILE)
        finally:
            shutil.rmtree(root)


def _copy(name: str) -> Path:
    """What the build of an example reads, with the contract changed."""
    root = examples.LOGS / f"changed-{name}"
    shutil.rmtree(root, ignore_errors=True)
    folder = Path("examples", name)
    shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("gen"))
    shutil.copytree(ROOT / "protos", root / "protos")
    (root / ".venv").symlink_to(ROOT / ".venv")
    text = (root / _FILE).read_text()
    if text.count(_FIELD) != 1:
        raise Failed(f"{_FILE} does not say {_FIELD!r} once", root / _FILE)
    (root / _FILE).write_text(text.replace(_FIELD, _RENAMED))
    return root
