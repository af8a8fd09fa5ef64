"""The Dockerfile as far as tests need it: its instructions, one after the other."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Instruction and rest of each, lines that go on put together, without comments."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined) if name]


def of(name: str) -> list[str]:
    """What stands behind each instruction of that name."""
    return [rest for found, rest in instructions() if found == name]


def copied() -> list[str]:
    """What is copied from here, but for the locks."""
    sources = [source for rest in of("COPY") for source in rest.split()[:-1]]
    return [one for one in sources if not one.startswith(("--from=", "/", "requirements/"))]


def command() -> list[str]:
    """What the image runs where nothing else is named."""
    (found,) = of("CMD")
    parts: list[str] = json.loads(found)
    return parts


def variables() -> dict[str, str]:
    """The environment of the image that runs, the last stage."""
    *_, found = of("ENV")
    return dict(part.split("=", 1) for part in shlex.split(found))
