"""What a digest says, from what its items say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crown.notification.v1.notification_pb2 import NotificationData

# Items that are told one by one; the rest is a number.
SHOWN_MOST = 10
# Of those, in the text of a push or a text message.
LINES_MOST = 3
# Characters of an item's title and text.
_TITLE_MOST = 120
_MESSAGE_MOST = 280
_HIDDEN = "…"
_WORDS = {
    "en": {"title": "{count} updates for you", "more": "and {count} more"},
    "de": {"title": "{count} Neuigkeiten für dich", "more": "und {count} weitere"},
}
_DEFAULT = "en"


@dataclass(frozen=True, slots=True)
class Item:
    """One notification in a digest, as its sender wrote it."""

    title: str
    message: str
    action_url: str = ""
    image_url: str = ""

    @property
    def line(self) -> str:
        """In one line."""
        return _short(self.title or " ".join(self.message.split()), _TITLE_MOST)


def compose(items: Sequence[Item], count: int, locale: str) -> NotificationData:
    """The content of a digest of `count` items, of which `items` are the newest, in the language of `locale`. A
    single one reads as it would have by itself. The template finds the items in `extra.items`, and in `extra.more`
    how many are not among them."""
    if count == 1:
        (only,) = items
        return NotificationData(
            title=only.title, message=only.message, action_url=only.action_url, image_url=only.image_url
        )
    words = _WORDS.get(locale.partition("-")[0].lower(), _WORDS[_DEFAULT])
    shown = items[:SHOWN_MOST]
    lines = [item.line for item in shown[:LINES_MOST]]
    if count > len(lines):
        lines.append(words["more"].format(count=count - len(lines)))
    data = NotificationData(title=words["title"].format(count=count), message="\n".join(lines))
    more = count - len(shown)
    data.extra.update(
        {
            "count": count,
            "items": [_shown(item) for item in shown],
            "more": words["more"].format(count=more) if more else "",
        }
    )
    return data


def _shown(item: Item) -> dict[str, str]:
    """An item that has no title shows its text as one."""
    message = _short(" ".join(item.message.split()), _MESSAGE_MOST) if item.title else ""
    return {"title": item.line, "message": message}


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + _HIDDEN
