"""Takes the Jinja blocks of a text out of the way of what knows only its markup, and puts them back: `{% if a
< b %}` is no tag, and a block that gets lost on the way is told with its line."""

from __future__ import annotations

import re
from collections.abc import Callable

_STRINGS = r"""(?:"[^"]*"|'[^']*'|[^"'])*?"""
_BLOCK = re.compile(rf"\{{\{{{_STRINGS}\}}\}}|\{{%{_STRINGS}%\}}|\{{#.*?#\}}", re.DOTALL)
# Of letters and digits: MJML writes what is none in an attribute in Rust's way, "\\u{e000}". In small ones,
# since tags and names of attributes are read so.
MARK = re.compile("x7(?:jinja|value)([0-9]+)x7")
# Of a block that says nothing, such as `{% if %}`.
SILENT = re.compile("x7jinja[0-9]+x7")


class Marks:
    """The blocks of one text. `text` is it with a mark in place of each."""

    def __init__(self, source: str) -> None:
        self.blocks: list[str] = []
        self._lines: list[int] = []
        self._source = source
        self.text = _BLOCK.sub(self._mark, source)

    def _mark(self, found: re.Match[str]) -> str:
        self.blocks.append(found[0])
        self._lines.append(self._source.count("\n", 0, found.start()) + 1)
        return f"x7{'value' if found[0].startswith('{{') else 'jinja'}{len(self.blocks) - 1}x7"

    def line(self, number: int) -> int:
        """The line on which a block begins."""
        return self._lines[number]

    def lost(self, text: str) -> list[int]:
        """The blocks that `text` has no mark of; comments are nobody's loss."""
        kept = {int(number) for number in MARK.findall(text)}
        return [n for n, block in enumerate(self.blocks) if n not in kept and not block.startswith("{#")]

    def back(self, text: str, shape: Callable[[int, str], str] | None = None) -> str:
        """`text` with its blocks, each as `shape` makes it of its number and itself."""

        def restore(found: re.Match[str]) -> str:
            number = int(found[1])
            if number >= len(self.blocks):
                # Somebody has written just this.
                return found[0]
            return shape(number, self.blocks[number]) if shape else self.blocks[number]

        return MARK.sub(restore, text)
