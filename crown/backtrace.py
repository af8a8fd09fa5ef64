"""What a log says of an exception: its type, where it was raised, and what it came from. Not its text, which may have
an address or content in it; but of an OSError the words of the system, which are about files and connections."""

from __future__ import annotations

import errno
import logging
import os
import traceback
from types import TracebackType


def text(error: BaseException) -> str:
    """The exception and those that it came from, the first one first."""
    return "\n".join(_lines(error, set()))


def _lines(error: BaseException, seen: set[int]) -> list[str]:
    seen.add(id(error))
    found: list[str] = []
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        found += [*_lines(before, seen), "and then:"]
    found += [line.rstrip() for line in traceback.format_tb(error.__traceback__)]
    found.append(_named(error))
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if id(one) not in seen:
                found += ["in it:", *(f"  {line}" for line in _lines(one, seen))]
    return found


def _named(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    number = error.errno if isinstance(error, OSError) else None
    return f"{name}: {os.strerror(number)}" if number in errno.errorcode and number else name


class Formatter(logging.Formatter):
    """Writes what libraries log with an exception as we write it."""

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """As `text`."""
        return text(ei[1]) if ei[1] is not None else ""
