"""What a feed says: JSON, strictly read, and paths into it. Names and numbers of places, nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

_DECODER = msgspec.json.Decoder()
_PATH = re.compile(r"[A-Za-z0-9_@$-]{1,64}(?:\.[A-Za-z0-9_@$-]{1,64}){0,15}")
PATH_WORDS = "must be names separated by dots, such as match.id: letters, digits or _@$-, at most 16 names"

# In a path of a rule with `each`: the entry of the list.
EACH = "each"


class Undecodable(Exception):
    """It is not JSON, or nests too deep."""


class _Absent:
    """There is nothing at a path; unlike null, which may be there."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded message, and the entry of its list that a rule with `each` is at."""

    document: Any
    entry: Any = ABSENT


@dataclass(frozen=True, slots=True)
class Path:
    """Where in an event something stands."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Path:
        """The path written as `text`. Raises ValueError saying what is allowed."""
        if not _PATH.fullmatch(text):
            raise ValueError(PATH_WORDS)
        return cls(tuple(text.split(".")))

    def find(self, event: Event) -> Any:
        """What stands there; ABSENT where nothing does."""
        names, found = self.names, event.document
        if event.entry is not ABSENT and names[0] == EACH:
            names, found = names[1:], event.entry
        for name in names:
            found = _step(found, name)
        return found

    def __str__(self) -> str:
        return ".".join(self.names)


def _step(found: Any, name: str) -> Any:
    if isinstance(found, dict):
        return found.get(name, ABSENT)
    if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
        return found[int(name)]
    return ABSENT


def decode(message: bytes) -> Any:
    """The JSON of a message, whose size the transport has bounded. Raises Undecodable."""
    try:
        return _DECODER.decode(message)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise Undecodable(type(error).__name__) from None


def text_of(value: Any) -> str | None:
    """A string, number or boolean as text; None for null, lists, tables and ABSENT."""
    match value:
        case str():
            return value
        case bool() | float():
            return msgspec.json.encode(value).decode()
        case int():
            return str(value)
    return None
