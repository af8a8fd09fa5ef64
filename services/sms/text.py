"""What one text message says. Pure.

Where typographic signs, such as curly quotes and long dashes, are all that keeps a text out of the GSM alphabet,
their plain forms are sent: it then costs less than half. A text that needs UCS-2 anyway keeps them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from crown.notification.v1.notification_pb2 import NotificationData
from crown.rendering import Links
from services.sms.segments import count, is_gsm

# Three dots and not one character: "…" is outside the GSM alphabet and would halve what fits.
_CUT = "..."
_PLAIN = str.maketrans(
    {
        # Single quotes, primes and accents that stand alone; double ones; hyphens, dashes and the minus.
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u0060\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\t\u00a0\u2002\u2003\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
        # Not seen at all: joiners between letters, marks of direction, soft hyphens.
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", ""),
        "…": _CUT,
        "•": "*",
    }
)


@dataclass(frozen=True, slots=True)
class Texts:
    """Makes texts of at most `segments_most` segments, with links as `links` renders them."""

    links: Links
    segments_most: int = 6

    def compose(self, data: NotificationData) -> str:
        """Title, text and link, each on a line of its own. What is too long loses the end of its text, never a
        part of the link: a link that no text fits with is left out. Empty where nothing is left to say."""
        told = "\n".join(part for part in (data.title.strip(), data.message.strip()) if part)
        link = self.links.action(data.action_url)
        if link and not self._fits(f"{_CUT}\n{link}"):
            link = ""
        # Composed first: letters with their accents are in the alphabet, accents are not.
        plain = unicodedata.normalize("NFC", told).translate(_PLAIN).strip()
        if is_gsm(f"{plain}\n{link}"):
            told = plain
        end = f"\n{link}" if link and told else link
        return f"{self._cut(told, end)}{end}"

    def _fits(self, text: str) -> bool:
        return count(text).segments <= self.segments_most

    def _cut(self, told: str, end: str) -> str:
        """As much of `told` as fits before `end`."""
        if self._fits(f"{told}{end}"):
            return told
        fits, fails = 0, len(told)
        while fails - fits > 1:
            middle = (fits + fails) // 2
            if self._fits(f"{told[:middle]}{_CUT}{end}"):
                fits = middle
            else:
                fails = middle
        return f"{told[:fits].rstrip()}{_CUT}"
