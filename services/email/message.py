"""What one e-mail says, the same for every provider: subject, plain text, HTML, and the headers that let a
mail be recognised. Refuses what could become a header of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crown import addresses
from crown.errors import Violation
from crown.outcome import Discard
from crown.provider import Attempt
from crown.rendering import Links
from services.email import layout
from services.email.unsubscribe_link import UnsubscribeLinks

_SUBJECT_MOST_CHARS = 200
# What ends a line somewhere, or is no text: in a header it could begin another one.
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What every mail has in common: who it is from, where its links lead, and how people unsubscribe."""

    name: str
    address: str
    links: Links
    unsubscribe: UnsubscribeLinks | None = None

    @property
    def domain(self) -> str:
        """What follows the @ of the sender's address."""
        return self.address.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to one address, ready for any provider."""

    to: str
    subject: str
    text: str
    html: str
    message_id: str
    notification_id: str
    delivery_id: str
    # Empty where there is nothing to unsubscribe from.
    unsubscribe_url: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers beyond sender, recipient and subject."""
        found = {
            # The same for every attempt at a delivery, so that receivers may drop a repetition.
            "Message-ID": self.message_id,
            "X-Crown-Notification-Id": self.notification_id,
            "X-Crown-Delivery-Id": self.delivery_id,
            # RFC 3834: no vacation notices in return.
            "Auto-Submitted": "auto-generated",
        }
        if self.unsubscribe_url:
            # RFC 8058: the person's mail program shows a button, and posts to the link when it is pressed.
            found["List-Unsubscribe"] = f"<{self.unsubscribe_url}>"
            found["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        return found


class Composer:
    """Makes mails on the paper of `letterhead`."""

    def __init__(self, letterhead: Letterhead) -> None:
        self.letterhead = letterhead

    async def compose(self, attempt: Attempt) -> Mail | Discard:
        """The mail of `attempt`, the same for every attempt; Discard where its address is none or its title
        would break a header."""
        return _compose(attempt, self.letterhead)


def _compose(attempt: Attempt, letterhead: Letterhead) -> Mail | Discard:
    to = addresses.email(attempt.destinations[0].address, "to")
    if isinstance(to, Violation):
        return Discard("INVALID_ADDRESS", to.rule)
    data = attempt.data
    action = letterhead.links.action(data.action_url)
    mail = Mail(
        to=to,
        subject=data.title or _first_line(data.message),
        text="\n\n".join(part for part in (data.title, data.message, action) if part) + "\n",
        html=layout.page(
            letterhead.name, data.title, data.message, action, letterhead.links.image(data.image_url)
        ),
        message_id=f"<{attempt.delivery_id}@{letterhead.domain}>",
        notification_id=attempt.notification_id,
        delivery_id=attempt.delivery_id,
        unsubscribe_url=_unsubscribe_url(attempt, letterhead),
    )
    if _BREAKS.search("".join((mail.subject, *mail.headers.values()))):
        return Discard("INVALID_CONTENT", "header.break")
    return mail


def _unsubscribe_url(attempt: Attempt, letterhead: Letterhead) -> str:
    if letterhead.unsubscribe is None:
        return ""
    return letterhead.unsubscribe.url(attempt.user_id, attempt.category)


def _first_line(message: str) -> str:
    line = next((line.strip() for line in message.splitlines() if line.strip()), "")
    line = _BREAKS.sub(" ", line)
    return line if len(line) <= _SUBJECT_MOST_CHARS else f"{line[: _SUBJECT_MOST_CHARS - 1]}…"
