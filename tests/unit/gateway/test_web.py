"""The demo page and the console: what is vendored is what its author published, and nothing comes from elsewhere."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from gateway.render import HERE

WEB = HERE / "web"
VENDORED = [line.split() for line in (WEB / "vendored.sha256").read_text().splitlines()]
SCRIPTS = (
    "demo.js", "console.js", "console-draw.js", "console-figures.js", "console-letters.js", "console-panels.js",
    "console-story.js", "openapi.js",
)  # fmt: skip
PAGES = ("demo.html", "console.html", "openapi.html")
OWN = (*PAGES, *SCRIPTS, "demo.css", "console.css", "openapi.css", "openapi.yaml")


@pytest.mark.parametrize(("digest", "name"), VENDORED, ids=lambda value: value[-40:])
def test_a_vendored_file_is_unchanged(digest: str, name: str) -> None:
    assert sha256((WEB / name).read_bytes()).hexdigest() == digest


def test_the_vendored_script_is_licensed() -> None:
    assert "MIT License" in (WEB / "phoenix.LICENSE.md").read_text()


def test_every_file_is_ours_or_listed() -> None:
    there = {path.name for path in WEB.iterdir()}
    assert there == {*OWN, "vendored.sha256", *(name for _, name in VENDORED)}


@pytest.mark.parametrize("name", OWN)
def test_nothing_is_asked_of_another_host(name: str) -> None:
    found = set(re.findall(r"(?:https?:)?//[a-z0-9][a-z0-9.-]+\.[a-z]+", (WEB / name).read_text()))
    assert found <= {"http://www.w3.org"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_text_is_put_in_as_text(name: str) -> None:
    script = (WEB / name).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", script)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_nothing_inline(name: str) -> None:
    """Its policy would block it."""
    page = (WEB / name).read_text()
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=", page)
