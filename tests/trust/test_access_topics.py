"""Who may join which topic: every kind of caller at every kind of topic, on each transport that has topics."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from crown import access
from crown.notification.v1 import realtime_service_pb2
from crown.notification.v1.access_pb2 import TopicRule
from tests.e2e.people import People, data
from tests.e2e.phoenix import connected
from tests.e2e.rest import Caller, Rest
from tests.trust import matrix
from tests.trust.callers import KINDS, OTHER, OWNER, Kind
from tests.trust.poller import Poller

Ask = Callable[[str, str, object], Awaitable[dict[str, Any]]]
RULES = access.topic_rules(realtime_service_pb2.DESCRIPTOR.services_by_name["RealtimeService"])
# What is nobody's topic, whoever asks.
NOBODYS = [
    "user:*",
    "user:",
    "user:>",
    f"user:{OWNER}:x",
    f"User:{OWNER}",
    f" user:{OWNER}",
    f"user:{OWNER} ",
    f"user:{OWNER}\0",
    "user",
    "*",
    "",
    "ops:metrics2",
    "ops:",
    "crown.live.user",
    "realtime:realtime:user:x",
    "presence:x",
    "typing:x",
    "room:x",
]


@pytest.fixture(scope="module")
async def group(rest: Rest) -> str:
    """A group that OWNER is a member of."""
    found = f"g{secrets.token_hex(6)}"
    feed = rest.service("feed")
    assert (await feed.put(f"/api/v1/groups/{found}", {"client_events": True})).status == 200
    assert (await feed.post(f"/api/v1/groups/{found}/members", {"user_ids": [OWNER]})).status == 200
    return found


def may(rule: TopicRule, kind: Kind, whose: str, topic: str) -> bool:
    """The rules, said another way."""
    if kind.use == "operator":
        return rule.operator
    if kind.use != "user":
        return False
    # The group of these tests is of the kind `group`.
    return (rule.self and kind.subject == whose) or (
        rule.member and kind.subject == OWNER and topic.startswith("group:")
    )


def topics(group: str) -> list[tuple[str, TopicRule, str]]:
    """Each topic with its rule, and whose it is."""
    found = []
    for kind, rule in RULES.items():
        if rule.self:
            found += [(f"{kind}:{whose}", rule, whose) for whose in (OWNER, OTHER)]
        elif rule.member:
            found.append((f"{kind}:{group}", rule, ""))
        else:
            found.append((f"{kind}:{rule.name}", rule, ""))
    return found


@asynccontextmanager
async def on_a_socket(rest: Rest, token: str) -> AsyncIterator[Ask]:
    async with connected(rest, token) as socket:
        yield socket.ask


@asynccontextmanager
async def by_polling(rest: Rest, token: str) -> AsyncIterator[Ask]:
    poller = Poller(rest)
    assert await poller.open(token) == 410
    yield poller.ask


@pytest.mark.parametrize(
    ("surface", "transport"), [("topics on a WebSocket", on_a_socket), ("topics by long polling", by_polling)]
)
@pytest.mark.parametrize("alias", ["", "realtime:"])
async def test_the_rule_decides_on_every_transport(
    rest: Rest, group: str, surface: str, transport: Any, alias: str
) -> None:
    for kind in KINDS:
        if kind.use == "nobody":
            continue
        token = kind.caller(rest).token
        async with transport(rest, token) as ask:
            for topic, rule, whose in topics(group):
                reply = await ask(f"{alias}{topic}", "phx_join", {"user_id": kind.subject})
                wanted = "ok" if may(rule, kind, whose, topic) else "error"
                matrix.check(surface, reply["status"], wanted, kind, topic, reply)
                if wanted == "error":
                    assert reply["response"]["reason"] == "NOT_ALLOWED", reply


@pytest.mark.parametrize(
    ("surface", "transport"), [("topics on a WebSocket", on_a_socket), ("topics by long polling", by_polling)]
)
async def test_what_is_no_topic_is_nobodys(rest: Rest, surface: str, transport: Any) -> None:
    for kind in (Kind("user", OWNER), Kind("user", OTHER), Kind("operator", "olga")):
        async with transport(rest, kind.caller(rest).token) as ask:
            for topic in NOBODYS:
                reply = await ask(topic, "phx_join", {})
                matrix.check(surface, reply["status"], "error", kind, topic, reply)


async def test_nobody_opens_a_session(rest: Rest) -> None:
    for token in ("", "x", "a.b.c"):
        matrix.check("topics by long polling", await Poller(rest).open(token), 403, token)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connected(rest, token):
                pass
        matrix.check("topics on a WebSocket", caught.value.status, 403, token)


async def test_what_is_joined_brings_nothing_of_others(rest: Rest, feed: Caller, people: People) -> None:
    victim, mallory = people.stranger(), people.stranger()
    assert mallory.caller.token
    async with connected(rest, mallory.caller.token) as socket:
        reply = await socket.ask(f"user:{victim.user_id}", "phx_join", {"user_id": mallory.user_id})
        assert reply["status"] == "error"
        await socket.join(f"user:{mallory.user_id}")
        await feed.send("real_time", user_id=victim.user_id, data=data())
        own = await feed.send("real_time", user_id=mallory.user_id, data=data())
        assert (await socket.pushed("notification"))["notification_id"] == own


@pytest.mark.parametrize("event", ["typing", "presence", "cursor", "presence_state", "removed"])
async def test_who_did_not_join_says_nothing_and_hears_nothing(rest: Rest, group: str, event: str) -> None:
    """Presence and typing are events of a topic: there is no other way to them."""
    owner, mallory = rest.user(OWNER), rest.user(OTHER)
    assert owner.token
    assert mallory.token
    async with connected(rest, owner.token) as inside, connected(rest, mallory.token) as outside:
        await inside.join(f"group:{group}")
        reply = await outside.ask(f"group:{group}", event, {"event": "track", "payload": {}, "typing": True})
        matrix.check("topics on a WebSocket", reply["status"], "error", event, reply)
        assert reply["response"]["reason"] == "unmatched topic"
        await inside.ask(f"group:{group}", "typing", {})
        beat = await outside.ask("phoenix", "heartbeat", {})
        assert beat["status"] == "ok"
        assert outside.unread == []
        # And what was said from outside came to nobody within.
        assert [payload for _, what, payload in inside.unread if what == event != "presence_state"] == []


async def test_who_is_removed_hears_no_more(rest: Rest, feed: Caller, people: People) -> None:
    """At once: what is published after the answer does not come any more."""
    group, member = f"g{secrets.token_hex(6)}", people.stranger()
    path = f"/api/v1/groups/{group}"
    assert (await feed.put(path, {})).status == 200
    assert (await feed.post(f"{path}/members", {"user_ids": [member.user_id]})).status == 200
    assert member.caller.token
    async with connected(rest, member.caller.token) as socket:
        await socket.join(f"group:{group}")
        assert (await feed.post(f"{path}/members:remove", {"user_ids": [member.user_id]})).status == 200
        assert await socket.pushed("removed") == {"reason": "NOT_ALLOWED"}
        event = {"event": "secret", "payload": {"x": 1}}
        assert (await feed.post(f"/api/v1/topics/group:{group}/events", event)).status == 200
        await socket.ask("phoenix", "heartbeat", {})
        assert [what for _, what, _ in socket.unread if what == "secret"] == []
        reply = await socket.ask(f"group:{group}", "phx_join", {})
        matrix.check("topics on a WebSocket", reply["status"], "error", "removed", reply)
