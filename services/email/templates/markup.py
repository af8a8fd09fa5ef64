"""From MJML or HTML with Jinja blocks in it to a Jinja template for HTML, and one for the plain-text part. It
is here that values cannot get where escaping does not help: into tags, styles, scripts, comments, and the
beginning of a link."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from mjml import mjml2html

from services.email.templates.marks import MARK, Marks
from services.email.templates.plain_text import plain_text
from services.email.templates.text import FAILED, Flaw, TemplateError

NESTED_MOST = 100
_HIDE = (
    "display:none;font-size:1px;line-height:1px;max-height:0;max-width:0;opacity:0;overflow:hidden;"
    "mso-hide:all"
)
# Takes the place beside the subject that the preheader leaves, so that no button or footer gets there.
_FILL = "&#847;&zwnj;&nbsp;" * 40
_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_REFUSED = {
    "script", "iframe", "frame", "frameset", "object", "embed", "applet", "base", "form", "input", "link",
    "mj-include",
}  # fmt: skip
_URLS = {
    "href", "src", "background", "action", "formaction", "poster", "cite", "data", "srcset", "xlink:href",
}  # fmt: skip
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_QUOTED = re.compile(r"""=\s*(?:"[^"]*"|'[^']*')""")
_FIXED = re.compile(r"(?:https?://[A-Za-z0-9.-]+(?::[0-9]+)?[/?#]|mailto:|tel:|#)", re.IGNORECASE)
_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*\s*:", re.IGNORECASE)
_SCHEMES = re.compile(r"(?:https?|mailto|tel|sms):", re.IGNORECASE)
_POSITION = re.compile(r"position ([0-9]+):([0-9]+)$")
_LOADS = re.compile(r"@import|expression\s*\(|javascript:|behavior\s*:", re.IGNORECASE)
# As MRML 5 and MJML 4 know them.
_COMPONENTS = {
    "mjml", "mj-head", "mj-body", "mj-attributes", "mj-all", "mj-class", "mj-breakpoint", "mj-font",
    "mj-html-attributes", "mj-preview", "mj-style", "mj-title", "mj-accordion", "mj-accordion-element",
    "mj-accordion-text", "mj-accordion-title", "mj-button", "mj-carousel", "mj-carousel-image", "mj-column",
    "mj-divider", "mj-group", "mj-hero", "mj-image", "mj-navbar", "mj-navbar-link", "mj-raw", "mj-section",
    "mj-social", "mj-social-element", "mj-spacer", "mj-table", "mj-text", "mj-wrapper",
}  # fmt: skip


class Markup:
    """A body as Jinja templates: `html`, and `text` for the plain-text part. Raises TemplateError with every flaw."""

    def __init__(self, part: str, source: str) -> None:
        marks = Marks(source)
        outline = _Outline(marks).flaws() if part == "mjml" else []
        # What is wrong with what was written is told by its line; what MJML made of it is only looked at then.
        _refuse(part, outline + _Inspector(marks, written=True).flaws(marks.text))
        html = _from_mjml(marks) if part == "mjml" else marks.text
        inspector = _Inspector(marks, written=False)
        _refuse(part, inspector.flaws(html))

        def shape(number: int, block: str) -> str:
            if number not in inspector.links:
                return block
            return "{{ (" + block[2:-2].strip("-+ \t\n") + ")|link }}"

        self.html = marks.back(_with_preheader(html), shape)
        # White space is seen to when the text is there: a block must not eat what parts two lines.
        self.text = marks.back(plain_text(html), lambda number, block: _unstripped(shape(number, block)))


def _refuse(part: str, found: list[tuple[int, str]]) -> None:
    if found:
        raise TemplateError(FAILED, tuple(Flaw(part, why, line) for line, why in dict.fromkeys(found)))


def _unstripped(block: str) -> str:
    return f"{block[:2]}{block[2:-2].removeprefix('-').removesuffix('-')}{block[-2:]}"


def _from_mjml(marks: Marks) -> str:
    try:
        html = mjml2html(marks.text, fonts={}, disable_comments=True)
    except ValueError as error:
        raise TemplateError(FAILED, (_told(marks, str(error)),)) from None
    _refuse("mjml", [(marks.line(n), _lost(marks.blocks[n])) for n in marks.lost(html)])
    return html


def _told(marks: Marks, error: str) -> Flaw:
    """What MJML's compiler complains of, at the line of what was written; it counts bytes of what it was given."""
    found = _POSITION.search(error)
    if found is None:
        return Flaw("mjml", f"is no MJML: {error}")
    raw = marks.text.encode()
    before, there = (
        raw[a:b].decode("utf-8", "replace") for a, b in ((0, int(found[1])), map(int, found.groups()))
    )
    line = marks.back(before).count("\n") + 1
    return Flaw("mjml", f"MJML does not take this there: {marks.back(there.strip())[:60]}", line)


def _with_preheader(html: str) -> str:
    """`html` with the preheader at the top of its body, unseen there."""
    hidden = f'<div style="{_HIDE}">{{{{ preheader }}}}{_FILL}</div>'
    block = f"{{% if preheader %}}{hidden}{{% endif %}}"
    body = _BODY.search(html)
    return f"{html[: body.end()]}{block}{html[body.end() :]}" if body else f"{block}{html}"


def _lost(block: str) -> str:
    shown = block if len(block) <= 40 else f"{block[:39]}…"
    return f"{shown} stands where MJML takes no text: put it into <mj-raw>"


class _Outline(HTMLParser):
    """The components of a text in MJML: whether there are such, and each is closed where it should be."""

    def __init__(self, marks: Marks) -> None:
        super().__init__(convert_charrefs=True)
        self._marks = marks
        self._open: list[tuple[str, int]] = []
        self._found: list[tuple[int, str]] = []

    def flaws(self) -> list[tuple[int, str]]:
        """Lines, and what is wrong there."""
        self.feed(self._marks.text)
        self.close()
        self._found += [(line, f"<{tag}> is not closed") for tag, line in self._open]
        if "<mjml" not in self._marks.text:
            self._found.append((1, "is no MJML: it has to begin with <mjml>"))
        return self._found[:20]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if not tag.startswith("mj"):
            return
        self._know(tag)
        self._open.append((tag, self._line()))
        if len(self._open) == NESTED_MOST:
            self._found.append((self._line(), "nests too deep"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag.startswith("mj"):
            self._know(tag)

    def handle_endtag(self, tag: str) -> None:
        if not tag.startswith("mj"):
            return
        if not self._open or self._open[-1][0] != tag:
            self._found.append((self._line(), f"</{tag}> closes nothing that is open there"))
        if any(tag == name for name, _ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def _know(self, tag: str) -> None:
        if tag not in _COMPONENTS and tag not in _REFUSED:
            self._found.append((self._line(), f"<{tag}> is no component of MJML"))

    def _line(self) -> int:
        return self.getpos()[0]


class _Inspector(HTMLParser):
    """Looks where values get to. `links` are the blocks that begin a link, and are to be seen to when rendered."""

    def __init__(self, marks: Marks, *, written: bool) -> None:
        super().__init__(convert_charrefs=False)
        self._marks = marks
        self._written = written
        self._raw = ""
        self._depth = 0
        self._found: list[tuple[int, str]] = []
        self.links: set[int] = set()

    def flaws(self, text: str) -> list[tuple[int, str]]:
        """Lines of what was written, and what is wrong there."""
        self.feed(text)
        self.close()
        return self._found[:20]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs)
        if tag in {"style", "mj-style"}:
            self._raw = tag
        self._depth += tag not in _VOID
        if self._depth == NESTED_MOST * 3:
            self._flaw("nests too deep")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag not in _VOID
        self._raw = "" if tag == self._raw else self._raw

    def handle_data(self, data: str) -> None:
        if not self._raw:
            return
        self._refuse(data, "a style")
        if _LOADS.search(data):
            self._flaw("a style that loads or runs something is not taken")

    def handle_comment(self, data: str) -> None:
        self._refuse(data, "a comment; MJML makes one of what stands between the sections of an mj-wrapper")

    def handle_decl(self, decl: str) -> None:
        self._refuse(decl, "a declaration")

    def unknown_decl(self, data: str) -> None:
        self._refuse(data, "a declaration")

    def handle_pi(self, data: str) -> None:
        self._refuse(data, "a declaration")

    def _tag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _REFUSED:
            self._flaw(f"<{tag}> is not taken")
        self._refuse(_QUOTED.sub("", self.get_starttag_text() or ""), "a tag, but in quotes as a value of it")
        for name, value in attrs:
            if name.startswith("on"):
                self._flaw(f"{name} is not taken: no mail program runs scripts")
            elif name == "style" or name in {"srcdoc", "http-equiv"} or name.startswith("background-u"):
                self._refuse(value or "", "a style" if name == "style" else name)
            elif name in _URLS:
                self._link(value or "")

    def _link(self, value: str) -> None:
        first = MARK.match(value.lstrip())
        if first is not None and self._marks.blocks[int(first[1])].startswith("{{"):
            self.links.add(int(first[1]))
        elif first is not None:
            self._flaw("a link begins with {{ }} or with an address: put the condition around it", value)
        elif (mark := MARK.search(value)) and not _FIXED.match(value[: mark.start()]):
            self._flaw("a value in a link stands after https://host/, or at its beginning", value)
        elif _SCHEME.match(value) and not _SCHEMES.match(value.strip()):
            self._flaw("a link leads to https, http, mailto, tel or sms", value)

    def _refuse(self, text: str, where: str) -> None:
        if MARK.search(text):
            self._flaw(f"no value or block stands in {where}", text)

    def _flaw(self, why: str, text: str = "") -> None:
        found = MARK.search(text)
        line = self.getpos()[0] if self._written else 0
        self._found.append((self._marks.line(int(found[1])) if found else line, why))
