"""A template in one language, ready to say something. MJML and plain text are made once, here; what is left for
each mail is Jinja over HTML."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, Template, TemplateSyntaxError, meta
from jinja2.exceptions import UndefinedError
from jinja2.nodes import Name

from crown.rendering import Links
from services.email.templates.markup import Markup
from services.email.templates.plain_text import tidy
from services.email.templates.sandbox import LINKS, MARKUP, PLAIN
from services.email.templates.text import FAILED, TOO_LARGE, Flaw, Rendered, TemplateError, Text

PART_MOST_BYTES = 256 << 10
SUBJECT_MOST_CHARS = 900
PREHEADER_MOST_CHARS = 200
# What every template sees; subject and preheader only its body does.
NAMES = (
    "title", "message", "action_url", "image_url", "extra", "kind", "category", "locale", "sender_name",
    "unsubscribe_url",
)  # fmt: skip
_OF_BODY = ("subject", "preheader")
_OURS = {"range", "loop", "caller", "varargs", "kwargs", "self"}
_MISSING = re.compile(r"has no attribute '([A-Za-z_][A-Za-z0-9_]{0,63})'$")


class Compiled:
    """Raises TemplateError with every flaw of every part."""

    def __init__(self, text: Text) -> None:
        self._source = "\n".join((text.subject, text.preheader, text.mjml, text.html, text.text))
        flaws: list[Flaw] = []
        for make in (self._make_lines, self._make_body, self._make_plain):
            try:
                make(text)
            except TemplateError as error:
                flaws.extend(error.flaws)
        if flaws:
            raise TemplateError(FAILED, tuple(flaws))

    def _make_lines(self, text: Text) -> None:
        self._subject = _template(PLAIN, "subject", text.subject)
        self._preheader = _template(PLAIN, "preheader", text.preheader)

    def _make_body(self, text: Text) -> None:
        if bool(text.mjml) == bool(text.html):
            raise TemplateError(FAILED, (Flaw("mjml", "exactly one of mjml and html is wanted"),))
        part, source = ("mjml", text.mjml) if text.mjml else ("html", text.html)
        # First as it was written, so that what is wrong is told with the line that the author knows.
        _check(MARKUP, part, source)
        made = Markup(part, source)
        try:
            self._html, self._text = MARKUP.from_string(made.html), PLAIN.from_string(made.text)
        except TemplateSyntaxError as error:
            raise TemplateError(FAILED, (Flaw(part, error.message or "no template"),)) from None

    def _make_plain(self, text: Text) -> None:
        if text.text:
            self._text = _template(PLAIN, "text", text.text)

    def render(self, values: Mapping[str, Any], links: Links) -> Rendered:
        """What it says of `values`, which has all of NAMES. Raises TemplateError."""
        given = {**values, LINKS: links}
        given["subject"] = subject = _line(self._rendered(self._subject, "subject", given))
        given["preheader"] = preheader = _cut(self._rendered(self._preheader, "preheader", given))
        html = self._rendered(self._html, "html", given)
        text = tidy(self._rendered(self._text, "text", given))
        return Rendered(subject, preheader or _cut(text), html, text)

    def _rendered(self, template: Template, part: str, given: Mapping[str, Any]) -> str:
        try:
            return "".join(_bounded(template.generate(given), part))
        except TemplateError:
            raise
        except MemoryError:
            raise TemplateError(TOO_LARGE, (Flaw(part, "takes too much memory"),)) from None
        except Exception as error:
            # Whatever it is that a template does, it did it by itself.
            flaw = Flaw(part, _said(error), _line_of_failure(), self._missing(error))
            raise TemplateError(FAILED, (flaw,)) from None

    def _missing(self, error: Exception) -> str:
        """The variable that nobody has given; only one that the template itself names, so no text of a sender."""
        found = _MISSING.search(str(error)) if isinstance(error, UndefinedError) else None
        return found[1] if found and re.search(rf"\.\s*{found[1]}\b", self._source) else ""


def _template(environment: Environment, part: str, source: str) -> Template:
    _check(environment, part, source)
    return environment.from_string(source)


def _check(environment: Environment, part: str, source: str) -> None:
    try:
        tree = environment.parse(source)
        # Raises for filters and tests that there are not.
        environment.compile(tree, raw=True)
    except TemplateSyntaxError as error:
        raise TemplateError(FAILED, (Flaw(part, error.message or "no template", error.lineno),)) from None
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise TemplateError(FAILED, (Flaw(part, f"cannot be compiled ({type(error).__name__})"),)) from None
    names = {*NAMES, *_OURS, *(_OF_BODY if part not in _OF_BODY else ())}
    # A name that is set in one branch is known in it, whatever the search for unknown ones says.
    names |= {name.name for name in tree.find_all(Name) if name.ctx in {"store", "param"}}
    unknown = sorted(meta.find_undeclared_variables(tree) - names)
    if unknown:
        raise TemplateError(FAILED, tuple(_unknown(part, source, name) for name in unknown))
    if any(True for _ in meta.find_referenced_templates(tree)):
        raise TemplateError(FAILED, (Flaw(part, "other templates cannot be included"),))


def _unknown(part: str, source: str, name: str) -> Flaw:
    lines = source.splitlines()
    line = next((number for number, text in enumerate(lines, 1) if name in text), 0)
    return Flaw(part, f"{name} is no variable; those of your own are in extra, such as extra.{name}", line)


def _bounded(pieces: Iterator[str], part: str) -> Iterator[str]:
    left = PART_MOST_BYTES
    for piece in pieces:
        left -= len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace"))
        if left < 0:
            most = PART_MOST_BYTES >> 10
            raise TemplateError(TOO_LARGE, (Flaw(part, f"says more than {most} KiB"),))
        yield piece


def _said(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def _line_of_failure() -> int:
    """The line of the template that raised what is being handled; Jinja puts it into the traceback."""
    _, _, trace = sys.exc_info()
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _line(text: str) -> str:
    """What was written as one line; a break that a value brought stays, for whoever refuses that."""
    text = text.strip(" \t\r\n")
    if len(text) > SUBJECT_MOST_CHARS:
        raise TemplateError(TOO_LARGE, (Flaw("subject", f"is longer than {SUBJECT_MOST_CHARS} characters"),))
    return text


def _cut(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text[: PREHEADER_MOST_CHARS * 4].split())
    return line if len(line) <= PREHEADER_MOST_CHARS else f"{line[: PREHEADER_MOST_CHARS - 1]}…"
