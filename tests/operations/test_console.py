"""The console in a real browser: what happens in the suite is seen there, and only by operators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stack.control import Stack
from tests.e2e import browser as browsers
from tests.e2e.arrivals import Item, Ledger
from tests.e2e.browser import Browser, Tab
from tests.e2e.people import MESSAGE, TITLE, People, Person, data
from tests.e2e.rest import Caller, Rest
from tests.e2e.test_dead_letters import give_up, letters
from tests.e2e.waiting import until

LIMIT_S = 20.0
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Every text that is seen, with less contrast than WCAG asks of small print: 4.5.
FAINT = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true })
  const over = (below, colour, part) => {
    canvas.globalAlpha = 1; canvas.fillStyle = below; canvas.fillRect(0, 0, 1, 1)
    canvas.globalAlpha = part; canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1)
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data
    return `rgb(${r}, ${g}, ${b})`
  }
  const light = colour => {
    const parts = colour.match(/\\d+/g).map(Number).map(part => part / 255)
    const [r, g, b] = parts.map(part => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const ground = element => {
    const above = element.parentElement ? ground(element.parentElement) : "rgb(255, 255, 255)"
    return over(above, getComputedStyle(element).backgroundColor, 1)
  }
  const part = element => (element ? Number(getComputedStyle(element).opacity) * part(element.parentElement) : 1)
  const found = []
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (words.nextNode()) {
    const element = words.currentNode.parentElement, text = words.currentNode.data.trim()
    if (!text || !element.checkVisibility() || element.closest("option")) continue
    const below = ground(element), shown = over(below, getComputedStyle(element).color, part(element))
    const [dark, bright] = [light(below), light(shown)].sort((a, b) => a - b)
    const contrast = (bright + 0.05) / (dark + 0.05)
    if (contrast < 4.5) found.push(`${text}: ${contrast.toFixed(2)}`)
  }
  return [...new Set(found)]
})()
"""


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    await browsers.install()
    async with browsers.running(tmp_path_factory.mktemp("browser")) as found:
        yield found
    assert found.complaints == []


@pytest.fixture(scope="module")
def operator(rest: Rest) -> Caller:
    """One who runs the suite."""
    return rest.operator


@pytest.fixture(scope="module")
async def tab(browser: Browser, rest: Rest, operator: Caller) -> Tab:
    """The console, live, as most tests look at it."""
    tab = await browser.tab()
    await tab.resize(1440, 1200, dark=False)
    await tab.open(f"http://{rest.address}/console#token={operator.token}")
    await tab.shows("#state", "live")
    return tab


def cell(table: str, row: str, column: str) -> str:
    """An expression: what stands in this row, named by its first cell, and column of a table."""
    return f"""(() => {{
      const table = document.querySelector("#{table} table"), named = one => one.innerText.trim()
      const at = [...table.querySelectorAll("thead th")].findIndex(one => named(one) === {json.dumps(column)})
      const row = [...table.querySelectorAll("tbody tr")].find(one => named(one.children[0]) === {json.dumps(row)})
      return row ? named(row.children[at]) : ""
    }})()"""


async def tile(tab: Tab, title: str) -> float:
    """The figure of a tile, which is small."""
    found = await tab.run(
        "[...document.querySelectorAll('.tile')].find(one => one.querySelector('h3').innerText === "
        f"{json.dumps(title)}).querySelector('.value').innerText"
    )
    return 0.05 if found == "<0.1" else float(found) if found != "\N{EN DASH}" else -1.0


async def key(tab: Tab, name: str, code: str = "", text: str = "") -> None:
    """Presses a key."""
    given: dict[str, Any] = {"key": name, "code": code or name, **({"text": text} if text else {})}
    if name == "Enter":
        given |= {"text": "\r", "windowsVirtualKeyCode": 13}
    if name == "Escape":
        given |= {"windowsVirtualKeyCode": 27}
    if name == "Tab":
        given |= {"windowsVirtualKeyCode": 9}
    await tab.call("Input.dispatchKeyEvent", type="keyDown", **given)
    await tab.call("Input.dispatchKeyEvent", type="keyUp", **{**given, "text": ""})


async def focus(tab: Tab) -> str:
    """What has the focus: its id or its label."""
    return str(
        await tab.run("document.activeElement.id || document.activeElement.getAttribute('aria-label')")
    )


async def press(tab: Tab, selector: str, label: str) -> None:
    """Clicks the one of these that reads so, once it is there."""
    await until(lambda: tab.texts(selector), lambda found: label in found, LIMIT_S)
    await tab.run(
        f"[...document.querySelectorAll('{selector}')].find(one => one.innerText === '{label}').click()"
    )


async def closed(tab: Tab) -> None:
    if await tab.run("document.querySelector('#dialog').open"):
        await tab.click("#dialog-close")


# -- who may see it


async def test_the_token_leaves_the_address_and_stays_in_the_tab(tab: Tab, operator: Caller) -> None:
    assert await tab.run("location.hash + location.search") == ""
    assert await tab.run("Object.values(sessionStorage)") == [operator.token]
    assert operator.token not in await tab.run("JSON.stringify(localStorage)")
    assert await tab.run("history.length") <= 2
    await tab.run("location.reload()")
    await tab.shows("#state", "live")


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("user", "This is a user's token. The console is for operators."),
        ("service", "This is a service's token. The console is for operators."),
    ],
)
async def test_who_is_no_operator_is_refused(browser: Browser, rest: Rest, use: str, words: str) -> None:
    caller = rest.user("mallory") if use == "user" else rest.service("feed")
    tab = await browser.tab()
    await tab.open(f"http://{rest.address}/console#token={caller.token}")
    await tab.shows("#entry-trouble", words)
    assert await tab.texts("main") == []
    assert await tab.run("Object.keys(sessionStorage)") == []


async def test_who_comes_without_a_token_is_asked(browser: Browser, rest: Rest, operator: Caller) -> None:
    tab = await browser.tab()
    await tab.open(f"http://{rest.address}/console")
    await tab.shows("h1", "Operators only")
    await tab.type("#entry-token", "made up")
    await tab.click("#entry button")
    await until(lambda: tab.texts("#entry-trouble"), lambda found: found and "is not taken" in found[0])
    await tab.run("document.querySelector('#entry-token').value = ''")
    await tab.type("#entry-token", str(operator.token))
    await tab.click("#entry button")
    await tab.shows("#state", "live")
    await tab.click("#leave")
    await tab.shows("#state", "signed out")
    assert await tab.run("Object.keys(sessionStorage)") == []


async def test_a_token_that_expires_leads_to_the_entry(browser: Browser, rest: Rest, stack: Stack) -> None:
    tab = await browser.tab()
    token = stack.token(operator="olga", ttl_s=4)
    await tab.open(f"http://{rest.address}/console#token={token}")
    await tab.shows("#state", "live")
    await until(lambda: tab.texts("#entry-trouble"), lambda found: found and "is not taken" in found[0], 40)


# -- what is seen


async def test_rates_move_when_something_is_sent(tab: Tab, feed: Caller, people: People) -> None:
    person = await people.new()
    for _ in range(10):
        await feed.send("push", user_id=person.user_id, data=data())
    await until(lambda: tile(tab, "Accepted"), lambda rate: rate > 0, LIMIT_S)
    await until(lambda: tile(tab, "Taken by providers"), lambda rate: rate > 0, LIMIT_S)
    await until(lambda: tab.run(cell("channels", "push", "p99")), lambda found: found.endswith("s"), LIMIT_S)
    # And come to rest.
    await until(lambda: tile(tab, "Accepted"), lambda rate: rate == 0, LIMIT_S)


async def test_every_process_is_there(tab: Tab, stack: Stack) -> None:
    # Both dispatchers call themselves the same.
    wanted = {"ingest-dispatch" if "dispatch" in one.name else one.name for one in stack.status()}
    ours = {name for name in wanted if name.startswith("ingest-")} | {"email", "push", "sms", "realtime"}
    await until(lambda: tab.texts("#processes tbody th"), lambda found: set(found) == ours, LIMIT_S)
    for column in ("Memory", "Loop late"):
        found = await tab.run(cell("processes", "realtime", column))
        assert found.endswith(("MB", "ms", "s")), (column, found)
    assert int(await tab.run(cell("processes", "realtime", "Sockets"))) >= 1


async def test_queues_and_streams_are_there(tab: Tab) -> None:
    works = await until(lambda: tab.texts("#queues tbody th"), bool, LIMIT_S)
    assert works == ["dispatch", "push", "email", "sms", "webhook", "record", "undertaker"]
    assert {"INTAKE_normal", "DELIVERY_bulk", "RETRY", "EVENT", "DEAD"} <= set(
        await tab.texts("#streams tbody th")
    )


async def test_a_provider_that_is_out_is_seen_until_it_is_back(
    tab: Tab, rest: Rest, ledger: Ledger, feed: Caller, people: People
) -> None:
    person = await people.new()
    order = {"preset": "down", "provider": "fcm", "seconds": 8}
    async with rest.http.post(f"{ledger.url}/script", json=order) as answered:
        assert answered.status == 200

    async def state() -> str:
        await feed.send("push", user_id=person.user_id, data=data(), kind="login_alert")
        return str(await tab.run(cell("providers", "fcm", "State")))

    await until(state, lambda found: found in ("out", "probing"), LIMIT_S)
    await until(
        lambda: tab.texts("#attention li"), lambda found: any("push: fcm is" in one for one in found), LIMIT_S
    )
    assert "Nothing asks for attention." not in await tab.texts("#attention li")
    assert "push by fcm" in await tab.texts("#errors .soft")
    await until(state, lambda found: found == "in use", 60)
    # For those that come after this test.
    await until(lambda: tile(tab, "To be tried again"), lambda rate: rate == 0, 60)


async def test_a_notification_is_found_and_its_story_told(tab: Tab, feed: Caller, person: Person) -> None:
    sent = await feed.send("sms", user_id=person.user_id, data=data(), kind="login_alert")
    await feed.settled(sent)

    async def recorded() -> Any:
        return (await feed.get(f"/api/v1/notifications/{sent}/timeline")).ok["entries"]

    await until(recorded, lambda found: "ATTEMPTED" in [one["event"] for one in found])
    await key(tab, "/", "Slash", "/")
    assert await focus(tab) == "search"
    await tab.call("Input.insertText", text=sent)
    await key(tab, "Enter")
    await tab.shows("#dialog .lead", "A login_alert of feed (security, lane critical) is done.")
    assert await tab.texts("#dialog .timeline span") == [
        "It was stored, and its sender heard yes.",
        f"Decided for {person.user_id} by sms: send it now.",
        f"Attempt 1 by twilio for {person.user_id} by sms: the provider took it.",
    ]
    await key(tab, "Escape")
    assert await tab.texts("#dialog") == []
    assert await focus(tab) == "search"
    await key(tab, "Escape")
    assert await focus(tab) != "search"


async def test_what_there_is_not_is_said(tab: Tab) -> None:
    for asked, words in (("01890000-0000-7000-8000-000000000000", "no notification"), ("<b>x</b>", "")):
        await tab.run(f"document.querySelector('#search').value = {json.dumps(asked)}")
        await tab.run("document.querySelector('#search-form').requestSubmit()")
        found = await until(lambda: tab.texts("#dialog-trouble"), bool, LIMIT_S)
        assert words in found[0]
        await closed(tab)
    await tab.run("document.querySelector('#search').value = ''")


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("draw.seconds(0.0002)", "<1 ms"), ("draw.seconds(0.00996)", "10 ms"), ("draw.seconds(0.2)", "200 ms"),
        ("draw.seconds(0.9999)", "1.0 s"), ("draw.seconds(41.44)", "41.4 s"), ("draw.seconds(300)", "300 s"),
        ("draw.rate(0.01)", "<0.1"), ("draw.rate(9.96)", "10"), ("draw.rate(12345)", "12.3 k"),
        ("draw.count(9999)", "9,999"), ("draw.count(12345678)", "12.3 M"), ("draw.bytes(1500)", "1.5 kB"),
        ("draw.bytes(0)", "0"), ("draw.age(59)", "59 s"), ("draw.age(7200)", "2 h"), ("draw.percent(0.004)", "<1 %"),
    ],
)  # fmt: skip
async def test_figures_in_words(tab: Tab, expression: str, wanted: str) -> None:
    assert await tab.run(f'import("/console/draw.js").then(draw => {expression})') == wanted


async def test_figures_of_several_seconds(tab: Tab) -> None:
    """Rates are the mean, counts the sum, and quantiles as Prometheus reckons them."""
    asked = """import("/console/figures.js").then(({ Figures }) => {
      const figures = new Figures(), buckets = [["0.1", 2], ["0.2", 6], ["+Inf", 8]]
      for (const time of [1, 2, 3]) figures.take({
        time, processes: [{ levels: { up: [[{ of: "a" }, 1], [{ of: "b" }, 5]] } }],
        rates: { done: time < 3 ? [[{ of: "a" }, 6]] : [], took_bucket: buckets.map(([le, rate]) => [{ le }, rate]) },
      })
      return [
        figures.rate("done"), figures.rate("done", { of: "b" }), figures.last("done"),
        figures.series("done")[0].count,
        figures.quantile(0.5, "took"), figures.quantile(0.99, "took"), figures.quantile(0.5, "never") ?? null,
        figures.sum("up"), figures.most("up"), figures.sum("up", { of: ["a"] }),
      ]
    })"""
    assert await tab.run(asked) == [4, 0, 0, 12, pytest.approx(0.15), 0.2, None, 6, 5, 1]


# -- dead letters


async def test_a_dead_letter_is_looked_into_replayed_and_discarded(
    tab: Tab, feed: Caller, operator: Caller, ledger: Ledger, people: People
) -> None:
    first, second = [await give_up(feed, ledger, operator, await people.new()) for _ in range(2)]
    for letter in (first, second):
        await look(tab, letter)
        assert await tab.texts("#dialog blockquote b") == [TITLE]
        assert await tab.texts("#dialog blockquote p") == [MESSAGE]
        assert letter["user_id"] in await tab.texts("#dialog dd")
        if letter is first:
            await press(tab, "#dialog-actions button", "Replay")
        else:
            await press(tab, "#dialog-actions button", "Discard")
            # Once is not enough.
            assert await letters(operator, f"filter.notification_id={second['notification_id']}") != []
            await press(tab, "#dialog-actions button", "Discard for good?")
        await until(lambda: tab.texts("#dialog-actions button"), lambda found: found == [], LIMIT_S)
        state = (await tab.texts("#dialog dd"))[0]
        assert state.startswith("replayed by olga" if letter is first else "discarded by olga")
        await closed(tab)
    assert (await ledger.effect(first["notification_id"]))["kind"] == "effect"
    assert await ledger.entries(notification_id=second["notification_id"]) == []


def button_of(letter: Item) -> str:
    """An expression: what opens it."""
    label = json.dumps(f"Look into the dead letter {letter['dead_letter_id']}")
    return f"[...document.querySelectorAll('#letters button')].find(one => one.ariaLabel === {label})"


async def look(tab: Tab, letter: Item) -> None:
    """Opens a letter."""
    button = button_of(letter)
    await until(lambda: tab.run(f"Boolean({button})"), bool, 30)
    await tab.run(f"{button}.click()")
    await until(lambda: tab.texts("#dialog .lead"), lambda found: found and "INVALID_NUMBER" in found[0])


# -- how it is used


async def test_every_action_can_be_reached_with_the_keyboard(
    tab: Tab, feed: Caller, operator: Caller, ledger: Ledger, people: People
) -> None:
    letter = await give_up(feed, ledger, operator, await people.new())
    await until(lambda: tab.run(f"Boolean({button_of(letter)})"), bool, 30)
    await tab.run("document.activeElement.blur(); scrollTo(0, 0)")
    await key(tab, "d", "KeyD", "d")
    found = await until(lambda: focus(tab), lambda found: found.startswith("Look into"))
    assert letter["dead_letter_id"] in found
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await tab.run(outline) == "solid"
    await key(tab, "Enter")
    await tab.shows("#dialog blockquote b", TITLE)
    reached = []
    for _ in range(3):
        reached.append(await tab.run("document.activeElement.innerText"))
        await key(tab, "Tab")
    assert reached == ["Close", "Replay", "Discard"]
    await key(tab, "Escape")
    assert await tab.texts("#dialog") == []
    assert (await focus(tab)).startswith("Look into")
    await tab.run("document.activeElement.blur()")
    reached = []
    for _ in range(8):
        await key(tab, "Tab")
        reached.append(await focus(tab))
    assert {"search", "theme", "leave", "letters-state", "letters-channel"} <= set(reached)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_everything_can_be_read(tab: Tab, dark: bool) -> None:
    await tab.resize(1440, 1200, dark=dark)
    assert await tab.run(FAINT) == []
    ground = await tab.run("getComputedStyle(document.body).backgroundColor")
    # Light or dark can be chosen, whatever the system says.
    while await tab.texts("#theme") != ["Light" if dark else "Dark"]:
        await key(tab, "t", "KeyT", "t")
    assert await tab.run("getComputedStyle(document.body).backgroundColor") != ground
    while await tab.texts("#theme") != ["Auto"]:
        await tab.click("#theme")


async def test_it_fits_a_phone(tab: Tab) -> None:
    await tab.resize(390, 844, dark=False)
    assert await tab.run(WIDE) == 0
    inner = "[...document.querySelectorAll('.table')].filter(one => one.scrollWidth > one.clientWidth)"
    assert await tab.run(f"{inner}.map(one => one.id)") == []
    await tab.run("document.querySelector('#letters button')?.click()")
    assert await tab.run(WIDE) == 0
    await closed(tab)
    await tab.resize(1440, 1200, dark=False)


async def test_it_says_when_it_is_stale_and_comes_back(tab: Tab, stack: Stack) -> None:
    pid = stack.kill("realtime")
    await until(lambda: tab.texts("#state"), lambda found: found == ["reconnecting"])
    await asyncio.to_thread(stack.wait_healthy, "realtime", pid)
    await tab.shows("#state", "live", within_s=40)
    await tab.run("Object.getPrototypeOf(performance).now = () => 1e9")
    await until(
        lambda: tab.texts("#stale"), lambda found: found and found[0].startswith("Stale: no figures for")
    )
    await tab.run("location.reload()")
    await tab.shows("#state", "live")
    assert await tab.texts("#stale") == []
