"""What people mean who text back. Pure."""

from __future__ import annotations

import unicodedata
from enum import Enum


class Word(Enum):
    """What a text asks for."""

    STOP = "STOP"
    START = "START"
    HELP = "HELP"
    OTHER = "OTHER"


_WORDS = {
    **dict.fromkeys(
        ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"), Word.STOP
    ),
    **dict.fromkeys(("START", "YES", "UNSTOP"), Word.START),
    **dict.fromkeys(("HELP", "INFO"), Word.HELP),
}


def meaning(text: str) -> Word:
    """What a whole text says, whatever its case, spaces and punctuation; a word among others says nothing, as on
    the networks themselves."""
    letters = "".join(each for each in unicodedata.normalize("NFKC", text) if each.isalnum())
    return _WORDS.get(letters.upper(), Word.OTHER)
