"""The page of the API in a real browser: everything is there to be read and found, and its policy blocks nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.e2e import browser as browsers
from tests.e2e.browser import Browser, Tab
from tests.e2e.waiting import until

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

CALL = "details.call:not(.away) > summary code:first-of-type"


@pytest.fixture
async def tab(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    await browsers.install()
    async with browsers.running(tmp_path_factory.mktemp("browser")) as found:
        yield await opened(found, f"{gateway.url}/openapi")
        assert found.complaints == []


async def opened(browser: Browser, url: str) -> Tab:
    """The page, loaded."""
    tab = await browser.tab()
    await tab.open(url)
    await tab.shows("h1", "Crown Notification Service")
    # It is long: what comes last may come later.
    await until(lambda: tab.run("document.readyState"), lambda state: state == "complete", 20)
    return tab


async def test_a_call_is_found_and_read(tab: Tab) -> None:
    await tab.type("#find", "notifications/bulk")
    await tab.shows(CALL, "/api/v1/notifications/bulk")
    await tab.shows("section h2", "IngestService")
    await tab.click("details.call:not(.away) > summary")
    await tab.shows("#IngestService_SendBulkNotifications h3", "IngestService.SendBulkNotifications")
    answers = await tab.texts("#IngestService_SendBulkNotifications td")
    assert any("RATE_LIMITED" in answer for answer in answers)


async def test_every_link_leads_somewhere(tab: Tab) -> None:
    script = """[...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute('href').slice(1))
      .filter(id => document.getElementById(id) === null)"""
    assert await tab.run(script) == []


async def test_it_fits_a_phone_and_a_desk(tab: Tab) -> None:
    await tab.run("for (const one of document.querySelectorAll('details')) one.open = true")
    for width in (360, 1280):
        await tab.resize(width, 800, dark=width == 360)
        assert await tab.run("document.documentElement.scrollWidth") <= width
