"""Reads a letter for showing: decoded headers and the two bodies. Never fails, however odd the mail is."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message

import msgspec

from stack.mailbox.letters import Letter

_BEGINS_CHARS = 120
_FOLD = re.compile(r"\r?\n(?=[ \t])")


class Reading(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A letter as people read it. `to` are the recipients of the envelope, `from` is the header."""

    id: str
    time: str
    from_: str
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    headers: dict[str, str]
    notification_id: str
    delivery_id: str


class Glance(msgspec.Struct, frozen=True, gc=False):
    """A letter in a list: `begins` is the beginning of its text."""

    id: str
    time: str
    to: tuple[str, ...]
    subject: str
    begins: str


def glance(letter: Letter) -> Glance:
    """The letter as a list shows it."""
    found = read(letter)
    text = " ".join(found.text.removeprefix(found.subject).split())
    return Glance(found.id, found.time, found.to, found.subject, text[:_BEGINS_CHARS])


def read(letter: Letter) -> Reading:
    """Parses the letter; a header that comes several times has its values on lines of their own."""
    message = message_from_bytes(letter.data)
    headers: dict[str, str] = {}
    for name, value in message.items():
        text = _decoded(str(value))
        headers[name] = f"{headers[name]}\n{text}" if name in headers else text
    by_name = {name.lower(): value for name, value in headers.items()}
    return Reading(
        id=letter.id,
        time=letter.time,
        from_=by_name.get("from", ""),
        sender=letter.sender,
        to=letter.recipients,
        subject=by_name.get("subject", ""),
        text=_body(message, "text/plain"),
        html=_body(message, "text/html"),
        headers=headers,
        notification_id=letter.notification_id,
        delivery_id=letter.delivery_id,
    )


def _decoded(raw: str) -> str:
    value = _FOLD.sub("", raw)
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, UnicodeError, LookupError):
        return value.encode(errors="surrogateescape").decode(errors="replace")


def _body(message: Message, kind: str) -> str:
    """The first part of that type that is not an attachment."""
    for part in message.walk():
        if part.get_content_type() == kind and part.get_content_disposition() != "attachment":
            payload = part.get_payload(decode=True)
            return _text(payload, part.get_content_charset("utf-8")) if isinstance(payload, bytes) else ""
    return ""


def _text(payload: bytes, charset: str) -> str:
    try:
        text = payload.decode(charset, errors="replace")
    except LookupError:
        text = payload.decode("latin-1")
    return text.replace("\r\n", "\n")
