"""What one text message says. Pure."""

from __future__ import annotations

from crown.notification.v1.notification_pb2 import NotificationData
from crown.rendering import Links

# Twilio refuses more. Counted in UTF-16, as networks count what is outside the GSM alphabet.
MOST_UNITS = 1_600
# Three dots and not one character: "…" is outside the GSM alphabet and would halve what fits in a part.
_CUT = "..."


def compose(data: NotificationData, links: Links) -> str:
    """Title, text and link, each on a line of its own. What is too long loses the end of its text, never the
    link."""
    link = links.action(data.action_url)
    told = "\n".join(part for part in (data.title.strip(), data.message.strip()) if part)
    if not link:
        return _cut(told, MOST_UNITS)
    return f"{_cut(told, MOST_UNITS - len(link) - 1)}\n{link}"


def units(text: str) -> int:
    """UTF-16 code units of `text`."""
    return len(text.encode("utf-16-le")) // 2


def _cut(text: str, most: int) -> str:
    if units(text) <= most:
        return text
    kept = text.encode("utf-16-le")[: 2 * (most - len(_CUT))]
    # `ignore` drops half of a character that the cut went through.
    return kept.decode("utf-16-le", "ignore").rstrip() + _CUT
