"""What a feed demands to be shown: headers of the handshake, from a file of their own, because they are secret."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\x20-\x7e]{0,8192}")
# The handshake's own.
_TAKEN = re.compile(r"(?i)(host|connection|upgrade|content-length|transfer-encoding|sec-websocket-.*)")
_DECODER = msgspec.json.Decoder(dict[str, str])

WORDS = (
    'must hold a JSON object such as {"Authorization": "Bearer …"}, or lines such as Authorization: Bearer …'
)


def read(path: Path) -> dict[str, str]:
    """The headers in a file. Raises ValueError that says what is wrong, without what the file holds."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("cannot be read (it is not text)") from None
    found = _object(text) if text.lstrip().startswith("{") else _lines(text)
    for name, value in found.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(WORDS)
        if _TAKEN.fullmatch(name):
            raise ValueError(f"must not set {name}: the handshake does")
    return found


def _object(text: str) -> dict[str, str]:
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError:
        raise ValueError(WORDS) from None


def _lines(text: str) -> dict[str, str]:
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(WORDS)
        found[name.strip()] = value.strip()
    return found
