"""The inputs that a fuzzer starts from: one file a target, one input a line, as a JSON string in which each character
is a byte. What once broke a parser stays in there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def read(target: str) -> list[bytes]:
    """The inputs of a target; none where it has no file yet."""
    path = FOLDER / f"{target}.txt"
    if not path.exists():
        return []
    return [json.loads(line).encode("latin-1") for line in path.read_text(encoding="ascii").splitlines()]


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Keeps `inputs`, and no others; short ones first."""
    ordered = sorted(set(inputs), key=lambda one: (len(one), one))
    lines = [json.dumps(one.decode("latin-1")) for one in ordered]
    (FOLDER / f"{target}.txt").write_text("\n".join([*lines, ""]), encoding="ascii")
