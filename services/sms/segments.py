"""How many messages a text is sent, and paid, as: GSM 03.38 where every character is in its default alphabet or
the extension table, else UCS-2. Pure.

| encoding | alone | joined, each | a character counts                     |
| -------- | ----- | ------------ | -------------------------------------- |
| GSM-7    | 160   | 153          | 1, of the extension table 2            |
| UCS-2    | 70    | 67           | 1, outside the basic plane 2           |

Joined ones are shorter by the header that says how they belong together. A character that counts 2 is never
split: where only one unit is left, it begins the next message."""

from __future__ import annotations

from dataclasses import dataclass

GSM_7 = "GSM-7"
UCS_2 = "UCS-2"

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Each is sent as an escape and a second septet.
_EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM = _BASIC | _EXTENSION
_BASIC_PLANE = 0xFFFF
_SINGLE = {GSM_7: 160, UCS_2: 70}
_JOINED = {GSM_7: 153, UCS_2: 67}


@dataclass(frozen=True, slots=True)
class Count:
    """`units` are septets of GSM-7 or code units of UCS-2; an empty text has no segment."""

    encoding: str
    units: int
    segments: int


def count(text: str) -> Count:
    """What `text` counts as."""
    encoding = GSM_7 if _GSM.issuperset(text) else UCS_2
    units = len(text) + _doubles(text, encoding)
    if units <= _SINGLE[encoding]:
        return Count(encoding, units, 1 if text else 0)
    joined = _JOINED[encoding]
    if units == len(text):
        return Count(encoding, units, -(-units // joined))
    return Count(encoding, units, _packed(text, encoding, joined))


def is_gsm(text: str) -> bool:
    """Whether every character is in the GSM alphabet."""
    return _GSM.issuperset(text)


def _doubles(text: str, encoding: str) -> int:
    if encoding == GSM_7:
        return sum(text.count(character) for character in _EXTENSION)
    return sum(character > chr(_BASIC_PLANE) for character in text)


def _packed(text: str, encoding: str, joined: int) -> int:
    """Segments, filled one after another."""
    segments, room = 1, joined
    for character in text:
        width = 2 if _is_double(character, encoding) else 1
        if width > room:
            segments, room = segments + 1, joined
        room -= width
    return segments


def _is_double(character: str, encoding: str) -> bool:
    return character in _EXTENSION if encoding == GSM_7 else character > chr(_BASIC_PLANE)
