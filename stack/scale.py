"""How many processes each service role runs as: `email=2,push=3`. Those after the first are email-2, email-3, …"""

from __future__ import annotations

import re

from stack.errors import StackError

VARIABLE = "CROWN_STACK_SCALE"
MOST = 8

_ITEM = re.compile(r"(?P<role>[a-z][a-z-]*[a-z])=(?P<count>[0-9]{1,4})\Z")


def read(text: str) -> dict[str, int]:
    """Role -> number of processes. Raises StackError."""
    found: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        parts = _ITEM.match(item)
        if parts is None or not 1 <= int(parts["count"]) <= MOST:
            raise StackError(f"--scale {item}: it must be role=number, from 1 to {MOST}, such as email=2")
        if parts["role"] in found:
            raise StackError(f"--scale names {parts['role']} twice")
        found[parts["role"]] = int(parts["count"])
    return found


def more(scale: dict[str, int]) -> list[tuple[str, str]]:
    """The processes that come on top of the first of each role: (role, name)."""
    return [(role, f"{role}-{number}") for role, count in scale.items() for number in range(2, count + 1)]
