"""A hook of MkDocs: what a page links to outside docs/ is a file of the repository, which the site does not have.
Such a link becomes the file's path, as code; that the file is there is what tools/links.py checks."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Protocol

_OUT = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)\s]*)\)")


class _Page(Protocol):
    @property
    def file(self) -> Any: ...


def on_page_markdown(markdown: str, *, page: _Page, **_: object) -> str:
    """The page's text with links out of docs/ turned into paths."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")
    return _OUT.sub(lambda link: _told(link, folder), markdown)


def _told(link: re.Match[str], folder: str) -> str:
    words, target = link.groups()
    path = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
    if path.startswith("docs/"):
        return link.group(0)
    return words if path in words else f"{words} (`{path}`)"
