"""What our logs say of an exception: its type, where it was, and the same of what it came from. Never its text, and
no value of a variable: a library puts into them what it was working on, an address as well as a message."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

import grpc.aio

# Of one exception, the outermost and the innermost frames; of all that hang together, so many exceptions.
OUTER_MOST = 10
INNER_MOST = 30
EXCEPTIONS_MOST = 20

# Numbers that say why: of the system, of NATS and MongoDB, of HTTP and SMTP. A longer one may be anybody's.
_CODES = ("errno", "err_code", "code", "status", "status_code", "smtp_code")
_CODE_END = 100_000


def told(error: BaseException) -> dict[str, Any]:
    """`error` for a line of the log: `type`; `code`, a number or a name of the system's or gRPC's, where it has one;
    `text` where its class says by `safe_text` that it is ours; `frames` as `file:line:function`, the innermost last;
    and `cause`, `context` or `errors` (of a group) with the same."""
    return _told(error, iter(range(EXCEPTIONS_MOST - 1)), {id(error)})


def word(error: BaseException) -> str:
    """`error` in a word: its text where its class says by `safe_text` that it is ours, else its type."""
    return str(error) if _is_safe(error) else name(type(error))


def place(path: str, line: int, function: str) -> str:
    """`file:line:function`, with the file as Python imports it: nothing of the machine's own paths."""
    return f"{_short(path)}:{line}:{function}"


def name(kind: type) -> str:
    """A class's name with its module, unless Python brings it along."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _told(error: BaseException, left: Iterator[int], seen: set[int]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": name(type(error))}
    if (code := _code(error)) is not None:
        found["code"] = code
    if _is_safe(error):
        found["text"] = str(error)
    found["frames"] = _frames(error.__traceback__)
    for relation, other in _related(error):
        # One exception may be reached in many ways, and a chain may be a ring.
        if id(other) not in seen and next(left, None) is not None:
            seen.add(id(other))
            below = _told(other, left, seen)
            if relation == "errors":
                found.setdefault(relation, []).append(below)
            else:
                found[relation] = below
    return found


def _is_safe(error: BaseException) -> bool:
    return getattr(type(error), "safe_text", False) is True


def _related(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    if error.__cause__ is not None:
        yield "cause", error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield "context", error.__context__
    if isinstance(error, BaseExceptionGroup):
        yield from (("errors", one) for one in error.exceptions)


def _frames(trace: TracebackType | None) -> list[str]:
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(place(code.co_filename, trace.tb_lineno, code.co_qualname))
        trace = trace.tb_next
    if (between := len(found) - OUTER_MOST - INNER_MOST) > 0:
        found[OUTER_MOST:-INNER_MOST] = [f"{between} more"]
    return found


def _code(error: BaseException) -> int | str | None:
    if isinstance(error, OSError) and (word := errno.errorcode.get(error.errno or 0)):
        return word
    if isinstance(error, grpc.aio.AioRpcError):
        return str(error.code().name)
    for attribute in _CODES:
        # They are others' classes: an attribute may be a property that raises.
        with suppress(Exception):
            value = getattr(error, attribute, None)
            if isinstance(value, int) and abs(value) < _CODE_END:
                return value
    return None


def _short(path: str) -> str:
    if path.startswith("<"):
        return path
    for root in sorted((one for one in sys.path if one), key=len, reverse=True):
        if path.startswith(root.rstrip(os.sep) + os.sep):
            return path[len(root.rstrip(os.sep)) + 1 :]
    return os.path.basename(path)
