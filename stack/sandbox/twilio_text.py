"""How many SMS a text takes: GSM 03.38 where every character is in it, else UCS-2."""

from __future__ import annotations

BODY_LIMIT_CHARS = 1_600

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_ESCAPED = frozenset("^{}\\[~]|€\f")
_GSM_ALL = _GSM | _GSM_ESCAPED


def segments(text: str) -> int:
    """Parts that a phone network carries the text in; 1 for an empty one."""
    kinds = set(text)
    if kinds <= _GSM_ALL:
        escapes = sum(text.count(c) for c in kinds & _GSM_ESCAPED)
        return _parts(len(text) + escapes, single=160, joined=153)
    return _parts(len(text.encode("utf-16-be")) // 2, single=70, joined=67)


def _parts(units: int, single: int, joined: int) -> int:
    return 1 if units <= single else -(-units // joined)
