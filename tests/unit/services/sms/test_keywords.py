"""What people mean who text back."""

from __future__ import annotations

import pytest

from services.sms.keywords import Word, meaning


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, Word.STOP) for word in ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")),
        *((text, Word.STOP) for text in ("stop", " Stop. ", "STOP!!!", '"stop"', "stop\n", "Stop all", "opt-out", "ＳＴＯＰ")),
        *((text, Word.START) for text in ("START", "yes", "Yes!", "UnStop")),
        *((text, Word.HELP) for text in ("HELP", "help?", " info ")),
        *((text, Word.OTHER) for text in ("", " ", "please stop", "stop it", "nonstop", "yes please", "STOPP", "🛑", "ST0P")),
    ],
)  # fmt: skip
def test_meaning(text: str, expected: Word) -> None:
    assert meaning(text) == expected
