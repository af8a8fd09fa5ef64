"""What one e-mail says, the same for every provider: subject, plain text, HTML, and the headers that let a
mail be recognised. Refuses what could become a header of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pymongo.errors import PyMongoError

from crown import addresses, logs
from crown.errors import Violation
from crown.outcome import Discard, Snooze
from crown.provider import Attempt
from crown.rendering import Links
from services.email.templates.library import Chosen, Library
from services.email.templates.renderers import RenderersBusy
from services.email.templates.text import TemplateError
from services.email.templates.values import values
from services.email.unsubscribe_link import UnsubscribeLinks

log = logs.get(__name__)

# Seconds until a mail is tried again that could not be made for a reason that passes.
_AGAIN_S = 2.0
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
    # What mail programs show beside the subject; it is in the HTML.
    preheader: str = ""

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
    """Makes mails on the paper of `letterhead`, with the templates of `library`; left out: the built-in ones."""

    def __init__(self, letterhead: Letterhead, library: Library | None = None) -> None:
        self.letterhead = letterhead
        self._library = library or Library()

    async def compose(self, attempt: Attempt) -> Mail | Discard | Snooze:
        """The mail of `attempt`, the same for every attempt. Discard where its address is none, its template says
        nothing, or its subject would break a header; Snooze where nobody could say what the template is."""
        to = addresses.email(attempt.destinations[0].address, "to")
        if isinstance(to, Violation):
            return Discard("INVALID_ADDRESS", to.rule)
        try:
            chosen = await self._library.choose(attempt.template_id, attempt.kind, attempt.locale)
        except TemplateError as error:
            return Discard(error.reason, attempt.template_id)
        except PyMongoError as error:
            log.warning("template_not_read", error=type(error).__name__)
            return Snooze("STORE_UNAVAILABLE", _AGAIN_S, alone=True)
        try:
            return await self.write(attempt, to, chosen, self._unsubscribe_url(attempt))
        except TemplateError as error:
            code = _code(chosen, error)
            log.warning("template_failed", reason=error.reason, code=code)
            return Discard(error.reason, code)
        except RenderersBusy:
            return Snooze("RENDERERS_BUSY", _AGAIN_S, alone=True)

    async def write(self, attempt: Attempt, to: str, chosen: Chosen, unsubscribe_url: str) -> Mail | Discard:
        """The mail as `chosen` makes it. Raises TemplateError and RenderersBusy."""
        given = values(
            attempt.data,
            self.letterhead.links,
            kind=attempt.kind,
            category=attempt.category,
            sender_name=self.letterhead.name,
            unsubscribe_url=unsubscribe_url,
        )
        said = await self._library.render(chosen, given, self.letterhead.links)
        mail = Mail(
            to=to,
            subject=said.subject,
            text=said.text,
            html=said.html,
            message_id=f"<{attempt.delivery_id}@{self.letterhead.domain}>",
            notification_id=attempt.notification_id,
            delivery_id=attempt.delivery_id,
            unsubscribe_url=unsubscribe_url,
            preheader=said.preheader,
        )
        if _BREAKS.search("".join((mail.subject, *mail.headers.values()))):
            return Discard("INVALID_CONTENT", "header.break")
        return mail

    def _unsubscribe_url(self, attempt: Attempt) -> str:
        links = self.letterhead.unsubscribe
        return links.url(attempt.user_id, attempt.category) if links else ""


def _code(chosen: Chosen, error: TemplateError) -> str:
    """Where it failed, without a word of what it was to say."""
    flaw = error.flaws[0] if error.flaws else None
    where = f" {flaw.part}:{flaw.line}" if flaw else ""
    missing = f" extra.{flaw.missing}" if flaw and flaw.missing else ""
    return f"{chosen.template_id} v{chosen.version} {chosen.locale}{where}{missing}"
