"""The demo page in a real browser: what is live is live, in every tab, and nothing is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stack.control import Stack
from stack.seed import LOBBY
from tests.e2e import browser as browsers
from tests.e2e.browser import Browser, Tab
from tests.e2e.people import People, Person
from tests.e2e.rest import Caller, Rest

ITEM, UNREAD, COUNT, PERSON, SAID = (
    "#list .title",
    "#list .unread .title",
    "#count",
    "#people .person",
    ".said .text",
)


@pytest.fixture(scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    await browsers.install()
    async with browsers.running(tmp_path_factory.mktemp("browser")) as found:
        yield found
    assert found.complaints == []


async def opened(browser: Browser, rest: Rest, person: Person) -> Tab:
    """The page of a person, once it is live."""
    tab = await browser.tab()
    token = person.caller.token
    await tab.open(f"http://{rest.address}/demo#user={person.user_id}&token={token}")
    await tab.shows("#state", "live")
    return tab


async def member(rest: Rest, people: People) -> Person:
    """Somebody new who may enter the lobby."""
    person = people.stranger()
    path = f"/api/v1/groups/{LOBBY}"
    service = rest.service("feed")
    assert (await service.put(path, {"kind": "CHAT", "client_events": True})).status == 200
    assert (await service.post(f"{path}/members", {"user_ids": [person.user_id]})).status == 200
    return person


async def tell(feed: Caller, person: Person, title: str, type: str = "real_time") -> str:
    return await feed.send(type, user_id=person.user_id, data={"title": title, "message": "<b>As text</b>"})


async def test_who_comes_without_a_token_is_asked(browser: Browser, rest: Rest, people: People) -> None:
    person = people.stranger()
    tab = await browser.tab()
    await tab.open(f"http://{rest.address}/demo")
    await tab.shows("h1", "Sign in")
    await tab.run(f"document.querySelector('#entry-user').value = '{person.user_id}'")
    await tab.type("#entry-token", str(person.caller.token))
    await tab.click("#entry button")
    await tab.shows("#state", "live")
    await tab.shows("#empty", "All quiet. crown demo sends you something.")


async def test_a_notification_is_live_in_every_tab_and_read_in_every_tab(
    browser: Browser, rest: Rest, feed: Caller, people: People
) -> None:
    person, other = people.stranger(), people.stranger()
    await feed.settled(await tell(feed, person, "Before", "in_app"))
    one, two, another = [await opened(browser, rest, whose) for whose in (person, person, other)]
    for tab in (one, two):
        await tab.shows(ITEM, "Before")
    await tell(feed, person, "Hello")
    for tab in (one, two):
        await tab.shows(UNREAD, "Hello", "Before")
        await tab.shows(COUNT, "2")
        assert (await tab.texts("#list .message"))[0] == "<b>As text</b>"
    await one.click("#list li:first-child button")
    for tab in (one, two):
        await tab.shows(UNREAD, "Before")
        await tab.shows(COUNT, "1")
    await two.click("#read-all")
    for tab in (one, two):
        await tab.shows(UNREAD)
        await tab.shows(COUNT)
        await tab.shows(ITEM, "Hello", "Before")
    assert await another.texts(ITEM) == []


async def test_people_see_who_is_here_who_types_and_what_they_say(
    browser: Browser, rest: Rest, people: People
) -> None:
    ann, bob = await member(rest, people), await member(rest, people)
    at_ann, at_bob = await opened(browser, rest, ann), await opened(browser, rest, bob)
    await at_ann.shows(PERSON, f"{initial(ann)}\n{ann.user_id} (you)", f"{initial(bob)}\n{bob.user_id}")
    await at_bob.shows(PERSON, f"{initial(bob)}\n{bob.user_id} (you)", f"{initial(ann)}\n{ann.user_id}")
    await at_ann.type("#text", "Hi <i>bob</i>")
    await at_bob.shows("#typing", f"{ann.user_id} is typing…")
    await at_ann.click("#send")
    for tab in (at_ann, at_bob):
        await tab.shows(SAID, "Hi <i>bob</i>")
    assert await at_bob.texts(".said .who") == [ann.user_id]
    await at_bob.shows("#typing", "")
    await at_bob.open("about:blank")
    await at_ann.shows(PERSON, f"{initial(ann)}\n{ann.user_id} (you)")
    assert await at_ann.texts("#here-count") == ["just you"]


async def test_who_may_not_enter_the_lobby_is_told(browser: Browser, rest: Rest, people: People) -> None:
    await member(rest, people)
    tab = await opened(browser, rest, people.stranger())
    await tab.shows("#lobby-trouble", "The lobby is closed to you: only members may join")


async def test_what_was_missed_appears_once(
    stack: Stack, browser: Browser, rest: Rest, feed: Caller, people: People
) -> None:
    person = people.stranger()
    tab = await opened(browser, rest, person)
    await tell(feed, person, "One")
    await tab.shows(ITEM, "One")
    # Reading the inbox again would hide what was lost on the way.
    await tab.run(
        "window.asked = []; const before = fetch; fetch = (...all) => (asked.push(all[0]), before(...all))"
    )
    pid = stack.kill("realtime")
    await tab.shows("#state", "reconnecting")
    await tell(feed, person, "Two")
    await asyncio.to_thread(stack.wait_healthy, "realtime", pid)
    await tab.shows("#state", "live")
    await tell(feed, person, "Three")
    await tab.shows(ITEM, "Three", "Two", "One")
    await tab.shows(COUNT, "3")
    assert await tab.run("asked") == []


def initial(person: Person) -> str:
    """What stands on somebody's picture."""
    last = person.user_id[-1]
    return "U" + (last if last.isdigit() else "")
