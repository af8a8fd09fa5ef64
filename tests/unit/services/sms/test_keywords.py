"""What people mean who text back."""

from __future__ import annotations

import pytest

from services.sms.keywords import Word, meaning

STOPS = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")
# The last is as wide as Chinese keyboards make it.
WRITTEN = (
    "stop",
    " Stop. ",
    "STOP!!!",
    '"stop"',
    "stop\n",
    "Stop all",
    "opt-out",
    "\uff33\uff34\uff2f\uff30",
)
OTHERS = ("", " ", "please stop", "stop it", "nonstop", "yes please", "STOPP", "🛑", "ST0P")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, Word.STOP) for word in (*STOPS, *WRITTEN)),
        *((text, Word.START) for text in ("START", "yes", "Yes!", "UnStop")),
        *((text, Word.HELP) for text in ("HELP", "help?", " info ")),
        *((text, Word.OTHER) for text in OTHERS),
    ],
)
def test_meaning(text: str, expected: Word) -> None:
    assert meaning(text) == expected
