"""The sandbox's page in a real browser: what arrives is there, what is pressed happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from stack.sandbox.server import build, start
from stack.sandbox.settings import Settings
from tests.e2e import browser as browsers
from tests.e2e.browser import Browser, Tab
from tests.e2e.waiting import until

SID, TOKEN = "AC" + "0" * 32, "token"
NUMBER = "+12025550100"
ENTRY, SCRIPT, BUBBLE = "#entries .text", "#scripts span", "#texts li"


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    await browsers.install()
    async with browsers.running(tmp_path_factory.mktemp("browser")) as found:
        yield found
    assert found.complaints == []


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """A sandbox of its own, since the page clears everything."""
    settings = Settings.model_validate({"port": 0, "twilio_key": f"{SID}:{TOKEN}"})
    runner, port = await start(build(settings), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def text(url: str, body: str) -> int:
    """A text is sent; the status."""
    headers = {"Authorization": aiohttp.encode_basic_auth(SID, TOKEN)}
    form = {"To": NUMBER, "From": "+15005550006", "Body": body}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(f"{url}/2010-04-01/Accounts/{SID}/Messages.json", data=form) as answer:
            return answer.status


async def opened(browser: Browser, url: str) -> Tab:
    tab = await browser.tab()
    await tab.open(url)
    await tab.shows("#state", "live")
    return tab


async def test_the_page(browser: Browser, url: str) -> None:
    tab = await opened(browser, url)
    await tab.shows(ENTRY)
    assert await text(url, "<b>Your code</b> is 42") == 201
    await tab.shows(ENTRY, "<b>Your code</b> is 42")
    await tab.shows(BUBBLE, "<b>Your code</b> is 42")
    # A button breaks it, for as long as was said.
    await tab.run("document.querySelector('#provider').value = 'twilio'")
    await press(tab, "#presets button", "throttled")
    await until(
        lambda: tab.texts(SCRIPT), lambda found: found and found[0].startswith("twilio answers 429 (")
    )
    assert await text(url, "Late") == 429
    await tab.shows("#entries .tag", "twilio: 429", "twilio")
    await press(tab, "#scripts button", "clear")
    await tab.shows(SCRIPT)
    # The phone says STOP, and Twilio sends it nothing more.
    await press(tab, "#words button", "STOP")
    await tab.shows(BUBBLE, "<b>Your code</b> is 42", "STOP")
    await until(lambda: tab.texts("#answered"), lambda found: "nothing" in found[0])
    assert await text(url, "More") == 400
    await tab.click("#clear")
    await tab.shows(ENTRY)
    assert await text(url, "More") == 201


@pytest.mark.parametrize("width", [360, 1_200])
async def test_the_page_fits(browser: Browser, url: str, width: int) -> None:
    await text(url, "x" * 500)
    tab = await opened(browser, url)
    await tab.shows("#entries .to", NUMBER, *[NUMBER] * (len(await tab.texts("#entries .to")) - 1))
    await tab.screenshot(width, 800, dark=False)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await tab.run(wide) == 0


async def test_programs_get_json_and_browsers_a_page_in_which_nothing_foreign_runs(url: str) -> None:
    async with aiohttp.ClientSession(url) as http:
        async with http.get("/") as answer:
            found: dict[str, Any] = await answer.json()
            assert "POST /script" in found["endpoints"]
        async with http.get("/", headers={"Accept": "text/html,*/*;q=0.8"}) as answer:
            assert answer.content_type == "text/html"
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';")
            assert "unsafe" not in policy
        async with http.get("/page/server.py") as answer:
            assert answer.status == 404


async def press(tab: Tab, selector: str, label: str) -> None:
    """Clicks the one of these that reads so, once it is there."""
    await until(lambda: tab.texts(selector), lambda found: label in found)
    await tab.run(
        f"[...document.querySelectorAll('{selector}')].find(one => one.innerText === '{label}').click()"
    )
