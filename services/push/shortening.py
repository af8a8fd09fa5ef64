"""Makes a text shorter where the whole message does not fit. A push is a glance: a text that is cut is better than a
message that never comes. What the app finds in a message is never cut. Pure."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right

import msgspec

from crown.outcome import Discard

# Fewer characters than these say nothing; then the message is refused instead.
_LEAST_CHARS = 40
_MARK = "…"
_JOINER = "\u200d"


def shortened(text: str, surplus: int) -> str | None:
    """The longest beginning of `text`, and "…", that is at least `surplus` bytes shorter as JSON. It ends between two
    characters as people see them. None where too little would be left."""
    room = _bytes(text) - surplus - len(_MARK.encode())
    count = bisect_right(range(len(text) + 1), room, key=lambda n: _bytes(text[:n])) - 1
    while count > 0 and _continues(text, count):
        count -= 1
    kept = text[: max(count, 0)].rstrip()
    return f"{kept}{_MARK}" if len(kept) >= _LEAST_CHARS else None


def too_large(size: int, most: int) -> Discard:
    """The end of a message of `size` bytes where `most` are allowed."""
    return Discard("PAYLOAD_TOO_LARGE", f"{size} bytes, of which {most} are allowed")


def _bytes(text: str) -> int:
    return len(msgspec.json.encode(text)) - 2


def _continues(text: str, at: int) -> bool:
    """Whether the character at `at` belongs to the one before: an accent, a variant, a skin tone, a joined emoji."""
    if at >= len(text):
        return False
    here = text[at]
    return (
        unicodedata.category(here).startswith("M")
        or here == _JOINER
        or text[at - 1] == _JOINER
        or "\U0001f3fb" <= here <= "\U0001f3ff"
    )
