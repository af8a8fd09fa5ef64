"""A push as a browser's service worker gets it: JSON, whose fields docs/push.md lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from crown.outcome import Discard
from services.push.message import Message
from services.push.shortening import shortened, too_large
from services.push.web_push.crypto import PLAIN_MOST_BYTES


def payload(message: Message) -> bytes | Discard:
    """`message` as JSON, its text shortened where it has to be; Discard where it does not fit even so."""
    encoded = msgspec.json.encode(_fields(message))
    surplus = len(encoded) - PLAIN_MOST_BYTES
    if surplus <= 0:
        return encoded
    text = shortened(message.text, surplus)
    if text is None:
        return too_large(len(encoded), PLAIN_MOST_BYTES)
    return payload(replace(message, text=text))


def _fields(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {
        **message.data,
        "title": message.title,
        "message": message.text,
        "image_url": message.image,
        "link": message.link,
        "tag": message.collapse_id,
        "extra": message.extra,
    }
    if message.badge is not None:
        found["badge"] = message.badge
    return {name: value for name, value in found.items() if value or value == 0}
