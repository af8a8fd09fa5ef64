"""The mailbox in a real browser: mail comes in by itself, is found and read, and nothing in it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage

import aiosmtplib
import pytest
from aiohttp import web

from stack.mailbox.server import Mailbox, start
from stack.mailbox.settings import Settings
from tests.e2e import browser as browsers
from tests.e2e.browser import Browser, Tab
from tests.integration.rig import until

SUBJECTS = "#list .subject"


@dataclass
class Beacon:
    """A server elsewhere that writes down what it is asked for."""

    url: str = ""
    paths: list[str] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        return web.Response(text="<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml")


@pytest.fixture
async def beacon() -> AsyncIterator[Beacon]:
    made = Beacon()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = "http://127.0.0.1:{1}".format(*runner.addresses[0])
    yield made
    await runner.cleanup()


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    await browsers.install()
    async with browsers.running(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    running = await start(Settings(smtp_port=0, http_port=0))
    yield running
    await running.stop()


@pytest.fixture
async def tab(browser: Browser, mailbox: Mailbox) -> Tab:
    opened = await browser.tab()
    await opened.open(f"http://127.0.0.1:{mailbox.http_port}/")
    await opened.shows("#none", "No mail yet.")
    return opened


async def send(mailbox: Mailbox, to: str, subject: str, html: str = "<p>Hello</p>") -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Crown <crown@example.org>", to, subject
    mail.set_content(f"{subject}\n\nHello")
    mail.add_alternative(html, subtype="html")
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=mailbox.smtp_port) as client:
        await client.send_message(mail)


async def test_mail_comes_in_is_found_and_read(mailbox: Mailbox, tab: Tab) -> None:
    await send(mailbox, "ann@example.org", "First")
    await send(mailbox, "bob@example.org", "<b>Second</b>")
    # By itself, and as text.
    await tab.shows(SUBJECTS, "<b>Second</b>", "First")
    await tab.type("#search", "ANN@")
    await tab.shows(SUBJECTS, "First")
    await tab.click("#list a")
    await tab.shows("#subject", "First")
    await tab.run("document.querySelector('#search').blur()")
    for key, selector, begin in (
        ("2", "#view pre", "First\n\nHello"),
        ("3", "#view tr:first-child td", "Crown <crown@example.org>"),
        ("4", "#view pre", "From: Crown <crown@example.org>"),
    ):
        await tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        found = await until(lambda selector=selector: tab.texts(selector), bool)  # type: ignore[misc]
        assert found[0].startswith(begin)
    await tab.screenshot(360, 720, dark=True)
    assert await tab.run("document.documentElement.scrollWidth <= innerWidth") is True


async def test_nothing_of_a_mail_runs_or_loads(mailbox: Mailbox, tab: Tab, beacon: Beacon) -> None:
    at = beacon.url
    evil = (
        f"<script>new Image().src='{at}/script';parent.document.title='taken'</script>"
        f"<img src='{at}/picture' onload=\"new Image().src='{at}/onload'\">"
        f"<img src=x onerror=\"new Image().src='{at}/onerror'\">"
        f"<link rel=stylesheet href='{at}/style'><style>@import '{at}/import';"
        f"p{{background:url({at}/background)}}</style>"
        f"<iframe src='{at}/frame'></iframe><object data='{at}/object'></object>"
        f"<meta http-equiv=refresh content='0;url={at}/refresh'>"
        f"<form action='{at}/form'><button autofocus>x</button></form><p>Hello"
    )
    await send(mailbox, "ann@example.org", "<img src=x onerror=alert(1)>", evil)
    await tab.shows(SUBJECTS, "<img src=x onerror=alert(1)>")
    await tab.run("document.querySelector('#list a').click()")
    await tab.shows("#subject", "<img src=x onerror=alert(1)>")
    # As long as it takes to do harm.
    await tab.run("new Promise(done => setTimeout(done, 500))")
    assert beacon.paths == []
    assert await tab.run("document.title") == "<img src=x onerror=alert(1)> · Mailbox"
    await tab.click("#pictures")
    await until(lambda: _paths(beacon), lambda found: "/picture" in found)
    # The pictures, and nothing that scripts, frames, styles or forms would have asked for.
    assert set(beacon.paths) <= {"/picture", "/background"}


async def _paths(beacon: Beacon) -> list[str]:
    return beacon.paths
