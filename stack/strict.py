"""Reads JSON strictly and says which field is wrong, so that each fake can refuse in its provider's words."""

from __future__ import annotations

import re
from enum import Enum
from typing import TypeVar

import msgspec

T = TypeVar("T")

_WHERE = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`$")
_TYPES = re.compile(r"Expected `(.*?)`, got `(.*?)`$")


class Fault(Enum):
    """What is wrong with the field that a Violation names."""

    MALFORMED = "malformed"  # not JSON at all: no field
    UNKNOWN = "unknown"
    MISSING = "missing"
    TYPE = "type"
    VALUE = "value"  # right type, but outside a bound


class Violation(Exception):
    """The first thing wrong with a body. `path` holds names and indexes; "..." is any key of a map."""

    def __init__(self, fault: Fault, path: tuple[str, ...], problem: str, types: tuple[str, str] = ("", "")):
        super().__init__(f"{'.'.join(path)}: {problem}" if path else problem)
        self.fault = fault
        self.path = path
        self.problem = problem
        self.expected, self.given = types

    @property
    def field(self) -> str:
        """The path with dots, `personalizations.0.to`; empty for the body as a whole."""
        return ".".join(step for step in self.path if step != "...")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises Violation unless `body` is what the decoder's type describes."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise violation(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Violation(Fault.MALFORMED, (), f"malformed JSON: {error}") from None


def violation(text: str) -> Violation:
    """Turns msgspec's sentence, the only thing its error carries, into a Violation."""
    where = _WHERE.search(text)
    problem = text[: where.start()] if where else text
    path = tuple(name or index for name, index in _STEP.findall(where["path"])) if where else ()
    if unknown := _UNKNOWN.match(problem):
        return Violation(Fault.UNKNOWN, (*path, unknown[1]), "unknown field")
    if missing := _MISSING.match(problem):
        return Violation(Fault.MISSING, (*path, missing[1]), "required field is missing")
    if types := _TYPES.match(problem):
        return Violation(Fault.TYPE, path, f"expected {types[1]}, got {types[2]}", (types[1], types[2]))
    return Violation(Fault.VALUE, path, problem)
