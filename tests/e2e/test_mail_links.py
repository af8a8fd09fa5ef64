"""Unsubscribing by the link of a mail, as mail programs, browsers and scanners use it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e import browser as browsers
from tests.e2e.answers import Reply
from tests.e2e.arrivals import Mailbox
from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = {"content-type": "application/x-www-form-urlencoded"}
BROWSER = {"accept": "text/html,*/*;q=0.8", "accept-language": "de-DE,de;q=0.9,en;q=0.8"}


async def mail(feed: Caller, mailbox: Mailbox, person: Person, **given: Any) -> dict[str, Any]:
    """A mail to the person, as it arrived."""
    sent = await feed.send("email", user_id=person.user_id, data=data(), **given)
    return await mailbox.message(notification_id=sent)


async def link(feed: Caller, mailbox: Mailbox, person: Person, **given: Any) -> str:
    """The path of the link in a mail to the person."""
    headers = (await mail(feed, mailbox, person, **given))["headers"]
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    found = re.fullmatch("<(http.*)>", headers["List-Unsubscribe"])
    assert found is not None
    parts = urlsplit(found[1])
    assert f"{parts.scheme}://{parts.netloc}" == feed.gateway
    return parts.path


async def outcome(feed: Caller, person: Person, **given: Any) -> tuple[str, str]:
    """What becomes of a mail to the person."""
    found = await feed.outcome(await feed.send("email", user_id=person.user_id, data=data(), **given))
    return found["state"], found.get("reason", "")


async def follow(rest: Rest, method: str, path: str, headers: dict[str, str] = BROWSER) -> Reply:
    """What somebody without a token gets, who need not be told in JSON."""
    body, more = (ONE_CLICK, FORM) if method == "POST" else (None, {})
    url = f"http://{rest.address}{path}"
    async with rest.http.request(method, url, headers={**headers, **more}, data=body) as answer:
        found = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status, found, await answer.read())


async def preferences(person: Person) -> Any:
    path = f"/api/v1/users/{person.user_id}/notification-preferences"
    return (await person.caller.get(path)).ok["categories"]


async def test_one_click(rest: Rest, feed: Caller, people: People, mailbox: Mailbox) -> None:
    person, other = await people.new(), await people.new()
    path = await link(feed, mailbox, person, kind="friend_request")
    before = await preferences(person)
    for _ in range(2):
        page = await follow(rest, "POST", path, {})
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    before["social"]["email"] = False
    assert await preferences(person) == before
    # The next send obeys; other categories and other people are as they were.
    assert await outcome(feed, person, kind="friend_request") == ("SUPPRESSED", "PREFERENCE_OFF")
    assert (await outcome(feed, person, kind="maintenance"))[0] == "DELIVERED_TO_PROVIDER"
    assert (await outcome(feed, other, kind="friend_request"))[0] == "DELIVERED_TO_PROVIDER"


async def test_what_waits_is_not_sent_either(
    rest: Rest, feed: Caller, people: People, mailbox: Mailbox
) -> None:
    person = await people.new()
    path = await link(feed, mailbox, person, kind="friend_request")
    await mailbox.script("RCPT", person.email, reply="451 4.3.0 later")
    sent = await feed.send("email", user_id=person.user_id, kind="friend_request", data=data())
    await until(
        lambda: feed.look(sent),
        lambda found: [one["state"] for one in found["deliveries"]] == ["RETRYING"],
    )
    assert (await follow(rest, "POST", path)).status == 200
    found = await feed.outcome(sent)
    assert (found["state"], found["reason"]) == ("SUPPRESSED", "PREFERENCE_OFF")
    assert await mailbox.messages(notification_id=sent) == []


async def test_looking_changes_nothing(rest: Rest, feed: Caller, people: People, mailbox: Mailbox) -> None:
    person = await people.new()
    path = await link(feed, mailbox, person, kind="friend_request")
    before = await preferences(person)
    page = await follow(rest, "GET", path)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<h1>Abbestellen?</h1>" in page.body
    assert person.user_id.encode() not in page.body
    assert page.headers["content-language"] == "de"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-robots-tag"] == "noindex, nofollow"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy
    assert (await follow(rest, "HEAD", path)).status == 405
    assert (await follow(rest, "GET", path, {})).status == 200
    assert await preferences(person) == before


async def test_security_cannot_be_unsubscribed(feed: Caller, people: People, mailbox: Mailbox) -> None:
    person = await people.new()
    headers = (await mail(feed, mailbox, person, kind="login_alert"))["headers"]
    assert not {"List-Unsubscribe", "List-Unsubscribe-Post"} & headers.keys()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_altered_link(
    rest: Rest, feed: Caller, people: People, mailbox: Mailbox, method: str
) -> None:
    person, other = await people.new(), await people.new()
    path, another = [await link(feed, mailbox, whom, kind="friend_request") for whom in (person, other)]
    before = await preferences(person)
    start, token = "/unsubscribe/", path.rpartition("/")[2]
    middle = len(token) // 2
    changed = {place: "A" if token[place] != "A" else "B" for place in range(0, len(token), 7)}
    altered = [
        *(token[:place] + other + token[place + 1 :] for place, other in changed.items()),
        token[:-1],
        f"{token}A",
        f"{token}=",
        token[:middle] + another.rpartition("/")[2][middle:],
        "x",
        "%00",
    ]
    answers = set()
    for wrong in altered:
        page = await follow(rest, method, f"{start}{wrong}")
        assert "text/html" in page.headers["content-type"]
        answers.add((page.status, page.body))
        assert (await follow(rest, method, f"{start}{wrong}", {})).problem.reason in {
            "NOT_FOUND",
            "INVALID_REQUEST",
        }
    # However it was altered, the answer is the same.
    assert len({answer for answer in answers if answer[0] == 404}) == 1
    assert {status for status, _ in answers} <= {400, 404}
    assert (await follow(rest, method, f"{path}?utm_source=mail")).status == 400
    assert await preferences(person) == before


async def test_in_a_browser(
    rest: Rest, feed: Caller, people: People, mailbox: Mailbox, tmp_path: Path
) -> None:
    person = await people.new()
    path = await link(feed, mailbox, person, kind="friend_request")
    await browsers.install()
    async with browsers.running(tmp_path / "browser") as browser:
        tab = await browser.tab()
        await tab.open(f"http://{rest.address}{path}")
        await tab.shows("h1", "Unsubscribe?")
        assert (await preferences(person))["social"]["email"] is True
        await tab.click("button")
        await tab.shows("h1", "You are unsubscribed")
        assert (await preferences(person))["social"]["email"] is False
        # Nothing that a policy had to block.
        assert browser.complaints == []
        await tab.open(f"http://{rest.address}{path}x")
        await tab.shows("h1", "This link does not work")
