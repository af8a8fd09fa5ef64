"""What a template is made of, what becomes of it, and how it can fail. Knows no protos, so that a renderer
starts with little."""

from __future__ import annotations

import msgspec


class Text(msgspec.Struct, frozen=True):
    """A template in one language. Exactly one of `mjml` and `html` is there; each part is a Jinja2 template."""

    subject: str = ""
    preheader: str = ""
    mjml: str = ""
    html: str = ""
    text: str = ""


class Rendered(msgspec.Struct, frozen=True):
    """What a template says of one notification."""

    subject: str
    preheader: str
    html: str
    text: str


class Flaw(msgspec.Struct, frozen=True):
    """What is wrong with one part of a template; `line` from 1, 0 where nobody can say. `missing` is a variable
    of the template's that nobody has given."""

    part: str
    why: str
    line: int = 0
    missing: str = ""

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}" if self.line else self.why


class TemplateError(Exception):
    """A template that says nothing. `reason` is a stable word; `flaws` tell authors more, and may hold what the
    template was given: they are for whoever gave that."""

    def __init__(self, reason: str, flaws: tuple[Flaw, ...] = ()) -> None:
        super().__init__(reason, *map(str, flaws))
        self.reason = reason
        self.flaws = flaws


# Why a template says nothing.
FAILED = "TEMPLATE_FAILED"
NOT_FOUND = "TEMPLATE_NOT_FOUND"
TOO_LARGE = "TEMPLATE_TOO_LARGE"
TIMEOUT = "TEMPLATE_TIMEOUT"
