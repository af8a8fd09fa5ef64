"""An EventSource from npm, unchanged, through the gateway: it comes back by itself, and misses nothing."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AbstractAsyncContextManager

import pytest

from stack.control import Stack
from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller, Rest
from tests.integration.realtime import scripts
from tests.integration.realtime.scripts import Script


@pytest.fixture(scope="session", autouse=True)
async def packages() -> None:
    """The client."""
    await scripts.install()


def listening(url: str) -> AbstractAsyncContextManager[Script]:
    return scripts.running("listen.js", url, "notification", "unread_count", "hello")


def page(rest: Rest, person: Person, query: str = "") -> str:
    return f"http://{rest.address}/api/v1/users/{person.user_id}/notifications:stream{query}"


def signed(rest: Rest, person: Person) -> str:
    """With the token where an EventSource can put one."""
    return page(rest, person, f"?access_token={person.caller.token}")


async def test_what_is_sent_arrives(rest: Rest, feed: Caller, people: People) -> None:
    person = people.stranger()
    async with listening(signed(rest, person)) as listener:
        joined = await listener.until("joined")
        assert joined["recovered"] is False
        assert joined["id"] == f"{joined['epoch']}.{joined['offset']}"
        sent = await feed.send("real_time", user_id=person.user_id, data=data())
        got = await listener.until("notification")
        assert (got["notification_id"], got["data"]["title"]) == (sent, data()["title"])
        assert got["id"] == f"{got['epoch']}.{got['offset']}"
        assert (await listener.until("unread_count"))["unread_count"] == 1
        event = {"event": "hello", "payload": {"a": "line\nbreak"}}
        published = await feed.post(f"/api/v1/users/{person.user_id}/events", event)
        said = await listener.until("hello")
        assert (said["a"], said["offset"]) == ("line\nbreak", int(published.ok["offset"]))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_what_was_missed_comes_once_the_service_is_back(
    stack: Stack, rest: Rest, feed: Caller, people: People, number: signal.Signals
) -> None:
    person = people.stranger()
    async with listening(signed(rest, person)) as listener:
        await listener.until("joined")
        sent = [await feed.send("real_time", user_id=person.user_id, data=data())]
        await listener.until("notification")
        pid = stack.kill("realtime", number)
        sent += [await feed.send("real_time", user_id=person.user_id, data=data()) for _ in range(3)]
        assert (await listener.until("joined"))["recovered"] is True
        await asyncio.to_thread(stack.wait_healthy, "realtime", pid)
        sent.append(await feed.send("real_time", user_id=person.user_id, data=data()))
        while len(listener.said("notification")) < len(sent):
            await listener.until("notification")
    got = [what["notification_id"] for what in listener.said("notification")]
    # Accepted in this order; dispatch may work on several at once.
    assert sorted(got) == sorted(sent)
    assert not any(what.get("closed") for what in listener.said("error"))


@pytest.mark.parametrize(("query", "status"), [("", 401), ("?access_token=nonsense", 401)])
async def test_without_a_good_token_it_stays_outside(
    rest: Rest, people: People, query: str, status: int
) -> None:
    person = people.stranger()
    async with listening(page(rest, person, query)) as listener:
        assert await listener.until("error") == {"status": status, "closed": True}


async def test_the_door_says_what_is_wrong(rest: Rest, people: People) -> None:
    ann, bob = people.stranger(), people.stranger()
    path = f"/api/v1/users/{ann.user_id}/notifications:stream"
    reasons = {
        "TOKEN_MISSING": (rest.nobody, path),
        "TOKEN_INVALID": (rest.nobody, f"{path}?access_token=nonsense"),
        "NOT_ALLOWED": (rest.nobody, f"{path}?access_token={bob.caller.token}"),
        "INVALID_REQUEST": (rest.service("feed"), "/api/v1/users/~/notifications:stream"),
    }
    for reason, (caller, where) in reasons.items():
        assert (await caller.get(where)).problem.reason == reason
