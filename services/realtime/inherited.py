"""What a process inherits from the supervisor of several, told in a setting as `name=descriptor, …`: ports that were
bound for all, and a sign of the supervisor's life."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Not a port: the end of a pipe whose other end lives as long as the supervisor.
LIFE = "life"
_ENTRY = re.compile(r"([a-z]+)=([0-9]{1,9})")


def told(descriptors: Mapping[str, int]) -> str:
    """The text that tells a process what it inherits."""
    return ",".join(f"{name}={descriptor}" for name, descriptor in descriptors.items())


def read(text: str) -> dict[str, int]:
    """What `told` said. Raises ValueError."""
    found = [_ENTRY.fullmatch(part.strip()) for part in text.split(",") if part.strip()]
    if None in found:
        raise ValueError("is for the supervisor of several processes to set: name=descriptor, …")
    return {entry[1]: int(entry[2]) for entry in found if entry is not None}
