"""What templates are tried with."""

from __future__ import annotations

from typing import Any

from crown.rendering import Links
from services.email.templates.compiled import Compiled
from services.email.templates.text import Rendered, Text

LINKS = Links("https://crown.example", ("crown.example",))
SPIN = "".join(f"{{% for {name} in range(1000) %}}" for name in "abc") + "{% endfor %}" * 3


def values(**given: Any) -> dict[str, Any]:
    """All that a template sees, with these over it."""
    usual = {
        "title": "Hello",
        "message": "A text",
        "action_url": "https://crown.example/m/1",
        "image_url": "",
        "extra": {},
        "kind": "comment",
        "category": "activity",
        "locale": "en",
        "sender_name": "Crown",
        "unsubscribe_url": "",
    }
    return {**usual, **given}


def render(html: str = "<p>x</p>", /, subject: str = "s", **given: Any) -> Rendered:
    """What a template with this HTML says; `mjml`, `text` and `preheader` are parts of it, all else values."""
    parts = {name: given.pop(name) for name in ("mjml", "text", "preheader") if name in given}
    text = Text(subject=subject, html="" if "mjml" in parts else html, **parts)
    return Compiled(text).render(values(**given), LINKS)
