"""Takes pictures of the built-in e-mail templates for docs/templates: `python tools/template_sheets.py`. It needs
Node."""

from __future__ import annotations

import asyncio
import base64
import sys
import tempfile
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from services.email.templates import builtin  # noqa: E402
from tests.e2e import browser as browsers  # noqa: E402
from tests.e2e.looks import picture_of, said  # noqa: E402

FOLDER = ROOT / "docs" / "templates"
_PHONE, _WIDE, _GAP = 360, 760, 24
_GERMAN = ("comment", "friend_request", "login_alert", "promotion")


async def main() -> None:
    """Writes the sheets."""
    await browsers.install()
    FOLDER.mkdir(exist_ok=True)
    phone = [(name, "en") for name in builtin.NAMES]
    wide = [("login_alert", "en"), ("campaign", "en"), *((name, "de") for name in _GERMAN)]
    with tempfile.TemporaryDirectory() as home:
        async with browsers.running(Path(home) / "profile") as browser:
            tab = await browser.tab()
            for dark in (False, True):
                mode = "dark" if dark else "light"
                for title, pages, width, columns in (
                    ("phone", phone, _PHONE, 5),
                    ("wide", wide, _WIDE, 3),
                ):
                    picture = await _sheet(tab, pages, width, columns, dark)
                    (FOLDER / f"{title}-{mode}.png").write_bytes(picture)
                    print(f"docs/templates/{title}-{mode}.png: {len(picture) >> 10} KiB")


async def _sheet(
    tab: browsers.Tab, pages: list[tuple[str, str]], width: int, columns: int, dark: bool
) -> bytes:
    """The pages side by side, each as high as it is."""
    frames = "".join(
        f'<iframe srcdoc="{escape(_with_picture(*page))}" scrolling="no" style="width:{width}px;height:10px;'
        f'border:0;border-radius:12px;display:block;margin:0 0 {_GAP}px"></iframe>'
        for page in pages
    )
    colour = "#000" if dark else "#dfe3ea"
    page = (
        f'<!doctype html><body style="margin:0;padding:{_GAP}px {_GAP}px 0;background:{colour}">'
        f'<div style="columns:{columns};column-gap:{_GAP}px;width:{columns * width + (columns - 1) * _GAP}px">'
        f"{frames}</div></body>"
    )
    await tab.resize(columns * (width + _GAP) + _GAP, 800, dark=dark)
    await tab.show(page)
    await tab.run(
        "Promise.all([...document.querySelectorAll('iframe')].map(async frame => {"
        "while (frame.contentDocument.readyState != 'complete' || !frame.contentDocument.body.children.length)"
        " await new Promise(done => setTimeout(done, 20));"
        "frame.style.height = frame.contentDocument.documentElement.scrollHeight + 'px' }))"
    )
    height = await tab.run("document.documentElement.scrollHeight")
    return await tab.screenshot(columns * (width + _GAP) + _GAP, height, dark=dark)


def _with_picture(name: str, language: str) -> str:
    html = said(name, language).html
    picture = base64.b64encode(picture_of(568, 300)).decode()
    return html.replace("https://crown.example/example.png", f"data:image/png;base64,{picture}")


if __name__ == "__main__":
    asyncio.run(main())
