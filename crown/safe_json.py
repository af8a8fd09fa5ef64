"""JSON from people whom nobody checked, decoded strictly: what two parsers could read in two ways, or what some other
part of the suite could not store or print, is refused. So there are no duplicate keys, no NaN, no numbers out
of range, no half of a surrogate pair, and nothing deeper than free-form parts are elsewhere."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import msgspec

from crown.errors import InvalidRequest, Violation
from crown.validation import DEPTH_MOST

SIZE_MOST_BYTES = 64 << 10
# MongoDB stores no larger ones.
_INTEGER_BITS = 63
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
# An integer with fewer digits fits.
_DIGITS = re.compile(rb"[0-9]{19}")

_TWICE = ("must not name a key twice", "json.duplicate_key")

_DECODER = msgspec.json.Decoder()


def decode(data: bytes | msgspec.Raw, name: str = "payload", most_bytes: int = SIZE_MOST_BYTES) -> Any:
    """The value in `data`, which errors call `name`. Raises InvalidRequest."""
    if len(memoryview(data)) > most_bytes:
        raise _refusal(name, f"must be at most {most_bytes} bytes", "bytes.max_len")
    try:
        value = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refusal(name, f"must be JSON: {_says(error)}", "json") from None
    except RecursionError:
        raise _refusal(name, f"must be at most {DEPTH_MOST} levels deep", "json.depth") from None
    if problem := _problem(value, _STRINGS.sub(b"", data)):
        raise _refusal(name, *problem)
    return value


def _problem(value: Any, bare: bytes) -> tuple[str, str] | None:
    """Why `value` is refused, and by which rule; `bare` is its text without the strings in it."""
    long_numbers = _DIGITS.search(bare) is not None
    if not long_numbers and bare.count(b"{") + bare.count(b"[") <= 1:
        # Nearly everything: one container, or none.
        keys = len(value) if isinstance(value, dict) else 0
        return None if keys == bare.count(b":") else _TWICE
    keys = depth = 0
    level = [value]
    while level:
        if depth > DEPTH_MOST:
            return f"must be at most {DEPTH_MOST} levels deep", "json.depth"
        if long_numbers and not all(map(_storable, level)):
            return "must hold integers below 2^63 only", "json.integer"
        objects = [one for one in level if isinstance(one, dict)]
        lists = [one for one in level if isinstance(one, list)]
        keys += sum(map(len, objects))
        level = [*chain.from_iterable(map(dict.values, objects)), *chain.from_iterable(lists)]
        depth += 1
    # There is a colon for each member; a key that came twice is one in the dict.
    return None if keys == bare.count(b":") else _TWICE


def _storable(value: Any) -> bool:
    return not isinstance(value, int) or value.bit_length() <= _INTEGER_BITS


def _says(error: Exception) -> str:
    """What is wrong, without what was sent."""
    return "it is no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _refusal(name: str, description: str, rule: str) -> InvalidRequest:
    return InvalidRequest.of([Violation(name, description, rule)])
