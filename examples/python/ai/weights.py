"""Reads weights.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Weights:
    """What kinds and categories are worth, from 0 to 1, and what follows from a score."""

    kinds: dict[str, float]
    categories: dict[str, float]
    send: float
    hold: float
    push_alone: float
    halved_by: int
    quiet_times: list[int]


def load(path: Path) -> Weights:
    """The weights in the file. Raises OSError, ValueError, KeyError or TypeError where it is not good."""
    data: dict[str, Any] = tomllib.loads(path.read_text())
    return Weights(kinds=data["kinds"], categories=data["categories"], **data["bounds"])
