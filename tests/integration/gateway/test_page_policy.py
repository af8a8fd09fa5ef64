"""Our pages in a real browser: none complains of anything, and whoever got text into one would run nothing there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from stack.mailbox.server import start as start_mailbox
from stack.mailbox.settings import Settings as MailboxSettings
from stack.sandbox.server import build, start
from stack.sandbox.settings import Settings as SandboxSettings
from tests.e2e import browser as browsers
from tests.e2e.browser import Browser, Tab
from tests.e2e.injection import injected
from tests.e2e.waiting import until

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

PAGES = ("/demo", "/console", "/openapi")


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    await browsers.install()
    async with browsers.running(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
async def elsewhere() -> AsyncIterator[str]:
    """Somebody else's server, which is glad of every visitor, with a page of its own that has no policy."""

    async def serve(request: web.Request) -> web.Response:
        allowed = {"Access-Control-Allow-Origin": "*"}
        if request.path == "/script.js":
            text, kind = "worked.push('script from elsewhere')", "text/javascript"
        else:
            text, kind = "<!doctype html><title>Elsewhere</title><body>", "text/html"
        return web.Response(text=text, content_type=kind, headers=allowed)

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://127.0.0.1:{1}".format(*runner.addresses[0])
    await runner.cleanup()


async def opened(browser: Browser, url: str) -> Tab:
    tab = await browser.tab()
    await tab.open(url)
    await until(lambda: tab.run("document.readyState"), lambda state: state == "complete", 20)
    return tab


async def held(browser: Browser, url: str, elsewhere: str) -> None:
    """The page opens without a complaint; then nothing gets in, and the browser says that its policy saw to it."""
    browser.complaints.clear()
    tab = await opened(browser, url)
    assert browser.complaints == []
    assert await injected(tab, elsewhere) == []
    assert any("Content Security Policy" in one for one in browser.complaints)


async def test_without_a_policy_everything_would_get_in(browser: Browser, elsewhere: str) -> None:
    found = set(await injected(await opened(browser, elsewhere), elsewhere))
    assert found == {
        "inline script", "data", "script from elsewhere", "markup", "plain text", "attribute", "link", "timer",
        "frame", "style", "fetch",
    }  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
async def test_nothing_gets_into_a_page_of_the_gateway(
    gateway: Gateway, browser: Browser, elsewhere: str, path: str
) -> None:
    await held(browser, gateway.url + path, elsewhere)


async def test_nothing_gets_into_the_page_of_the_sandbox(browser: Browser, elsewhere: str) -> None:
    settings = SandboxSettings.model_validate({"port": 0})
    runner, port = await start(build(settings), "127.0.0.1", 0)
    try:
        await held(browser, f"http://127.0.0.1:{port}/", elsewhere)
    finally:
        await runner.cleanup()


async def test_nothing_gets_into_the_page_of_the_mailbox(browser: Browser, elsewhere: str) -> None:
    running = await start_mailbox(MailboxSettings(smtp_port=0, http_port=0))
    try:
        await held(browser, f"http://127.0.0.1:{running.http_port}/", elsewhere)
    finally:
        await running.stop()
