"""What the built-in e-mail templates look like in a real browser: on a phone and on a wide screen, light and dark."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from services.email.templates import builtin
from tests.e2e import browser as browsers
from tests.e2e.browser import Tab
from tests.e2e.looks import said

# Every text with its size, and how it stands out from what is behind it, by WCAG 2: mixed with all that shines
# through, since no picture lies behind a text.
CONTRAST = """
(() => {
  const read = colour => {
    const [r, g, b, a = 1] = colour.match(/[0-9.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = colour => {
    const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(read(getComputedStyle(one).backgroundColor));
    const canvas = matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
    return layers.reverse().reduce((under, layer) => over(layer, under), canvas);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const text = texts.currentNode, element = text.parentElement;
    if (!text.data.trim() || !element.checkVisibility({opacityProperty: true}) || element.closest('style')) continue;
    const range = document.createRange();
    range.selectNode(text);
    if (!range.getBoundingClientRect().height) continue;
    const back = behind(element), front = over(read(getComputedStyle(element).color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    found.push([text.data.trim(), (high + 0.05) / (low + 0.05), parseFloat(getComputedStyle(element).fontSize)]);
  }
  return {
    texts: found, width: document.documentElement.scrollWidth, room: innerWidth,
    outside: [...document.querySelectorAll('body *')]
      .filter(one => one.getBoundingClientRect().right > innerWidth + 1).length,
    button: document.querySelector('.act a')?.getBoundingClientRect().height ?? 0,
    card: getComputedStyle(document.querySelector('.card')).backgroundColor,
  };
})()
"""
UNBROKEN = "x" * 400


@pytest.fixture(scope="module")
async def tab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    await browsers.install()
    async with browsers.running(tmp_path_factory.mktemp("looks")) as browser:
        yield await browser.tab()
    assert browser.complaints == []


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", builtin.NAMES)
async def test_it_fits_and_can_be_read(tab: Tab, name: str, language: str) -> None:
    mail = said(name, language)
    await tab.show(mail.html)
    for width in (360, 1200):
        for dark in (False, True):
            await tab.resize(width, 800, dark=dark)
            found = await tab.run(CONTRAST)
            assert found["width"] <= found["room"] == width
            assert found["outside"] == 0
            shown = " ".join(text for text, _, _ in found["texts"])
            assert "Crown" in shown
            # The preheader is for the list of mails, and not to be seen in one.
            assert mail.subject in shown
            assert [one for one in found["texts"] if one[1] < 4.5] == []
            assert [one for one in found["texts"] if one[2] < 13] == []
            assert found["button"] >= 44
            assert found["card"] == ("rgb(25, 29, 37)" if dark else "rgb(255, 255, 255)")


async def test_nothing_makes_it_wider(tab: Tab) -> None:
    await tab.resize(360, 800, dark=False)
    for name in builtin.NAMES:
        long = said(name, "de", title=UNBROKEN[:200], message=UNBROKEN, extra=dict.fromkeys(KNOWN, UNBROKEN))
        await tab.show(long.html)
        found = await tab.run(CONTRAST)
        assert found["width"] <= found["room"] == 360, name
        assert found["outside"] == 0, name


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", builtin.NAMES)
def test_the_plain_part_can_be_read(name: str, language: str) -> None:
    text = said(name, language).text
    assert not re.search(r"</?[a-z]|&[a-z]+;|&#|[{}]|\xad|\u200c|\u034f", text)
    assert "\n\n\n" not in text
    lines = text.split("\n")
    assert all(line == line.strip() and len(line) <= 998 for line in lines)
    assert lines[0] == "Crown"
    # Addresses stand alone, so that mail programs find their ends.
    assert all(re.fullmatch(r"https://\S+", line) for line in lines if "https://" in line)


KNOWN = (
    "actor", "quote", "start", "end", "affected", "version", "code", "until", "device", "place", "ip", "time", "name",
    "length",
)  # fmt: skip
