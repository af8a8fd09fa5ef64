"""Numbered messages of 200 bytes, as JSON objects, and their numbers in whatever frame they arrive."""

from __future__ import annotations

PAYLOAD_BYTES = 200

_DIGITS = 12
_MARK = b'"number":"'
_FORM = b'{"number":"%0*d","text":"%s"}'
_TEXT = b"x" * (PAYLOAD_BYTES - len(_FORM % (_DIGITS, 0, b"")))


def payload(number: int) -> bytes:
    """Message `number` (0, 1, …)."""
    return _FORM % (_DIGITS, number, _TEXT)


def number(frame: bytes) -> int:
    """The number of the message in `frame`; -1 where there is none."""
    at = frame.find(_MARK)
    if at < 0:
        return -1
    at += len(_MARK)
    return int(frame[at : at + _DIGITS])
