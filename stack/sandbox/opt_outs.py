"""Numbers whose owners have texted STOP or one of its kin; START takes them off again."""

from __future__ import annotations

_STOP_WORDS = frozenset(("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"))
_START_WORDS = frozenset(("START", "YES", "UNSTOP"))


class OptOuts(set[str]):
    """The numbers that one provider sends nothing to."""

    def hear(self, number: str, text: str) -> None:
        """A person texts; all other words change nothing."""
        word = text.strip().upper()
        if word in _STOP_WORDS:
            self.add(number)
        elif word in _START_WORDS:
            self.discard(number)
