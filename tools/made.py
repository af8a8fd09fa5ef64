"""What is made and committed all the same: pages, documents, manifests. Written; or with `--check` compared with what
stands there."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def keep(files: Mapping[Path, str], source: str, module: str, arguments: Sequence[str]) -> int:
    """Writes `files`; with `--check` among `arguments`, says which are not what `source` gives. The exit status: 1
    where there is one. `module` is what a reader runs to make them."""
    stale = [path for path, text in files.items() if not _is(path, text)]
    if "--check" not in arguments:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        return 0
    for path in stale:
        print(f"{path.name} is not what {source} gives: run python -m {module}", file=sys.stderr)
    return 1 if stale else 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text
