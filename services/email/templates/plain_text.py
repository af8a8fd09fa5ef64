"""The plain-text part of a mail, made from its HTML. Jinja blocks in it stay where they are, so that what
comes out is a template, too, and no mail is parsed when it is sent."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from services.email.templates.marks import SILENT

_SKIPPED = {"head", "style", "script", "title"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_PARAGRAPHS = {
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote", "pre", "hr", "section", "article",
    "header", "footer", "address", "figure", "center",
}  # fmt: skip
_LINES = {"div", "tr", "li", "dt", "dd", "caption"}
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f]+")
# Where a line and where a paragraph ends, if anything is said before and after; known when the mail is made.
_LINE, _PARAGRAPH = "\x1f", "\x1e"
# From the first blank of a row alone: tried from each, a long row would take the square of its length.
_GAPS = re.compile(r"(?<![ \t\n])[ \t\n]*[\x1e\x1f][ \t\n\x1e\x1f]*")
_LINE_ENDS = re.compile(r"(?<![ \t])[ \t]*(?:\r\n|\r|\n)")
_EMPTY_LINES = re.compile(r"\n{3,}")
_RULE = "-" * 20


def plain_text(html: str) -> str:
    """What `html` says, to be made tidy once its blocks are filled in. A link stands on a line of its own where its
    text began one, else in brackets."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return "".join(reader.out)


def tidy(text: str) -> str:
    """`text` with no blanks at the ends of lines, and with one empty line where there were more."""
    text = _GAPS.sub(_gap, _LINE_ENDS.sub("\n", text))
    return _EMPTY_LINES.sub("\n\n", text).strip(" \t\n") + "\n"


def _gap(found: re.Match[str]) -> str:
    return "\n\n" if _PARAGRAPH in found[0] or "\n\n" in found[0] else "\n"


class _Reader(HTMLParser):
    """Writes what it reads to `out`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        # Open elements within one that is not shown, that one included.
        self._unseen = 0
        self._links: list[tuple[str, int]] = []
        self._lists: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if self._unseen or tag in _SKIPPED or _is_hidden(given):
            self._unseen += tag not in _VOID
            return
        match tag:
            case "br":
                self.out.append("\n")
            case "hr":
                self.out.append(f"{_PARAGRAPH}{_RULE}{_PARAGRAPH}")
            case "a":
                self._links.append((given.get("href", ""), len(self.out)))
            case "ul" | "ol":
                self._lists.append(1 if tag == "ol" else 0)
                self.out.append(_PARAGRAPH if len(self._lists) == 1 else _LINE)
            case "li":
                self.out.append(f"{_LINE}{self._bullet()} ")
            case "td" | "th":
                self.out.append(self._cell())
            case "img" if given.get("alt"):
                self.out.append(given["alt"])
            case _:
                self._gap(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if self._unseen:
            self._unseen -= 1
            return
        match tag:
            case "a" if self._links:
                self._end_link(*self._links.pop())
            case "ul" | "ol" if self._lists:
                self._lists.pop()
                self.out.append(_LINE if self._lists else _PARAGRAPH)
            case _:
                self._gap(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            text = _SPACE.sub(" ", data.replace("\xa0", " "))
            self.out.append(text if text != " " or self._after_text() else "")

    def _after_text(self) -> bool:
        return bool(self.out) and not self.out[-1].endswith(("\n", " ", _LINE, _PARAGRAPH))

    def _gap(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self.out.append(_PARAGRAPH)
        elif tag in _LINES:
            self.out.append(_LINE)

    def _cell(self) -> str:
        """What stands before a cell: nothing at the beginning of a row."""
        said = _shown(self.out)
        return (
            ""
            if not said or said.endswith(("\n", _LINE, _PARAGRAPH))
            else " "
            if said.endswith(":")
            else "  "
        )

    def _bullet(self) -> str:
        # Of a kind that is not taken for what stands around a line.
        indent = "\xa0\xa0" * max(0, len(self._lists) - 1)
        if not self._lists or not self._lists[-1]:
            return f"{indent}-"
        self._lists[-1] += 1
        return f"{indent}{self._lists[-1] - 1}."

    def _end_link(self, href: str, start: int) -> None:
        said = "".join(self.out[start:]).strip()
        if not href or href.startswith("#") or said in {href, href.removeprefix("mailto:")}:
            return
        before = _shown(self.out[:start])
        if before and not before.endswith(("\n", _LINE, _PARAGRAPH)):
            self.out.append(f" ({href})" if said else href)
        else:
            # Nothing sticks to the address, so that mail programs find where it ends.
            self.out.append(f":{_LINE}{href}{_LINE}" if said else f"{href}{_LINE}")


def _is_hidden(given: dict[str, str]) -> bool:
    hidden = given.get("aria-hidden", "").lower() == "true" or "hidden" in given
    return hidden or bool(_HIDDEN.search(given.get("style", "")))


def _shown(pieces: list[str]) -> str:
    """The end of what is said so far, without the blocks that say nothing themselves."""
    return SILENT.sub("", "".join(pieces[-40:])).rstrip(" ")
