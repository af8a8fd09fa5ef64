"""Topics of groups: who gets in and who has to go, who types, and what members send each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from services.realtime import group_channel, memberships
from services.realtime.live import Removed

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.realtime.channel import Backend
    from services.realtime.hub import Hub
    from tests.unit.services.realtime.conftest import Connection, FakeFeed, FakeGroups

CHAT = "chat:lobby"


@pytest.fixture
def lobby(groups: FakeGroups) -> None:
    """A chat of ann and bob who may send events."""
    groups.put(CHAT, "ann", "bob", client_events=True)


Join = "Callable[..., Any]"


@pytest.fixture
def enter(connect: Callable[..., Connection], lobby: None) -> Callable[..., Any]:
    """Makes somebody's connection and joins the chat; what came of it is passed over."""

    async def run(subject: str = "ann", name: str = "") -> Connection:
        client = connect(subject, "user", name)
        answer = (await client.ask("1", "1", CHAT, "phx_join", {}))[0][4]
        assert answer["status"] == "ok", answer
        await client.heard()
        return client

    return run


def events(frames: list[Any], event: str) -> list[Any]:
    """The payloads of these events."""
    return [frame[4] for frame in frames if frame[3] == event]


def reason(frames: list[Any]) -> str:
    """Why the last message was refused."""
    (reply,) = events(frames, "phx_reply")
    return str(reply["response"]["reason"])


# -- getting in


@pytest.mark.parametrize(
    ("subject", "use", "topic"),
    [
        ("eve", "user", CHAT),
        ("ann", "user", "group:lobby"),
        ("ann", "user", "chat:"),
        ("ann", "user", "chat:other"),
        ("ann", "service", CHAT),
        ("ann", "operator", CHAT),
    ],
)
async def test_only_members_get_in(
    connect: Callable[..., Connection], lobby: None, subject: str, use: str, topic: str
) -> None:
    assert reason(await connect(subject, use).ask("1", "1", topic, "phx_join", {})) == "NOT_ALLOWED"


async def test_a_store_that_is_away_says_so(client: Connection, groups: FakeGroups, lobby: None) -> None:
    groups.away = True
    assert reason(await client.ask("1", "1", CHAT, "phx_join", {})) == "STORE_UNAVAILABLE"
    groups.away = False
    assert (await client.ask("1", "1", CHAT, "phx_join", {}))[0][4]["status"] == "ok"


async def test_who_joins_is_told_who_is_here(client: Connection, lobby: None) -> None:
    frames = await client.ask("1", "1", CHAT, "phx_join", {})
    assert [frame[3] for frame in frames][:2] == ["phx_reply", "presence_state"]
    join_ref, ref, *_ = frames[1]
    assert (join_ref, ref) == ("1", None)


@pytest.mark.parametrize(
    "payload",
    [
        {"since": 1, "epoch": 5},
        {"since": "1", "epoch": "e1"},
        {"since": -1, "epoch": "e1"},
        {"since": True, "epoch": "e1"},
        {"since": 1.5, "epoch": "e1"},
        {"since": 1 << 63, "epoch": "e1"},
        {"epoch": "e1"},
    ],
)
async def test_a_position_that_is_none_is_refused(
    client: Connection, lobby: None, payload: dict[str, Any]
) -> None:
    assert reason(await client.ask("1", "1", CHAT, "phx_join", payload)) == "INVALID_REQUEST"


async def test_what_was_missed_comes_behind_the_answer(
    connect: Callable[..., Connection], feed: FakeFeed, lobby: None, sealed: Callable[..., bytes]
) -> None:
    for number in range(3):
        feed.store(CHAT, sealed(number))
    frames = await connect().ask("1", "1", CHAT, "phx_join", {"since": 1, "epoch": "e1"})
    answer = {"recovered": True, "offset": 1, "epoch": "e1"}
    assert frames[0][4] == {"status": "ok", "response": answer}
    assert [frame[4]["offset"] for frame in frames[1:3]] == [2, 3]


# -- having to go


async def test_who_is_removed_is_sent_away_for_good(enter: Any, hub: Hub, backend: Backend) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    hub._rooms[CHAT].notify(Removed(frozenset({"bob"}), closed=False))
    assert [frame[3] for frame in await bob.heard() if frame[3] != "presence_diff"] == [
        "removed",
        "phx_close",
    ]
    assert (await bob.ask("1", "2", CHAT, "typing", {}))[0][4]["response"]["reason"] == "unmatched topic"
    assert (await ann.ask("1", "2", CHAT, "typing", {}))[0][4]["status"] == "ok"


async def test_where_the_group_is_gone_everybody_is(enter: Any, hub: Hub) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    hub._rooms[CHAT].notify(Removed(frozenset(), closed=True))
    assert CHAT not in hub._rooms
    for client in (ann, bob):
        assert events(await client.heard(), "phx_close") == [{}]


async def test_a_lost_word_of_a_removal_is_made_good(
    enter: Any, groups: FakeGroups, backend: Backend
) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await backend.memberships.look()
    assert events(await bob.heard(), "removed") == []
    del groups.members["lobby", "bob"]
    groups.away = True
    with pytest.raises(Exception, match="secret"):
        await backend.memberships.look()
    groups.away = False
    await backend.memberships.look()
    assert events(await bob.heard(), "removed") == [{"reason": "NOT_ALLOWED"}]
    assert events(await ann.heard(), "removed") == []


async def test_memberships_are_looked_at_twice_a_minute(
    enter: Any, groups: FakeGroups, backend: Backend
) -> None:
    assert memberships.PERIOD_S <= 30
    bob = await enter("bob")
    watch = asyncio.create_task(backend.memberships.watch(0.01))
    try:
        # A store that is away sends nobody away, and does not end the looking.
        groups.away = True
        await asyncio.sleep(0.05)
        assert events(await bob.heard(), "removed") == []
        groups.away = False
        del groups.members["lobby", "bob"]
        await asyncio.sleep(0.05)
        assert events(await bob.heard(), "removed") == [{"reason": "NOT_ALLOWED"}]
    finally:
        watch.cancel()


async def test_both_names_of_a_topic_end_with_the_membership(enter: Any, hub: Hub) -> None:
    ann = await enter("ann")
    await ann.ask("5", "5", f"realtime:{CHAT}", "phx_join", {})
    await ann.ask("5", "6", f"realtime:{CHAT}", "phx_leave", {})
    await ann.ask("7", "7", f"realtime:{CHAT}", "phx_join", {})
    await ann.heard()
    hub._rooms[CHAT].notify(Removed(frozenset({"ann"}), closed=False))
    closed = [frame[2] for frame in await ann.heard() if frame[3] == "phx_close"]
    assert sorted(closed) == [CHAT, f"realtime:{CHAT}"]


# -- typing


async def test_typing_is_told_to_the_others_and_ends_by_itself(
    enter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_channel, "TYPING_S", 0.05)
    ann, bob = await enter("ann"), await enter("bob")
    assert (await ann.ask("1", "2", CHAT, "typing", {}))[0][4] == {"status": "ok", "response": {}}
    on = {"user_id": "ann", "typing": True, "expires_in_ms": 50}
    assert events(await bob.heard(), "typing") == [on]
    await asyncio.sleep(0.1)
    assert events(await bob.heard(), "typing") == [{"user_id": "ann", "typing": False, "expires_in_ms": 0}]
    assert events(await ann.heard(), "typing") == []


async def test_typing_is_told_once_in_a_while(enter: Any, feed: FakeFeed) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    for ref in range(2, 12):
        await ann.ask("1", str(ref), CHAT, "typing", {"typing": True})
    assert len(events(await bob.heard(), "typing")) == 1
    await ann.ask("1", "20", CHAT, "typing", {"typing": False})
    await ann.ask("1", "21", CHAT, "typing", {"typing": False})
    assert [event["typing"] for event in events(await bob.heard(), "typing")] == [False]


@pytest.mark.parametrize("how", ["leave", "vanish"])
async def test_who_goes_types_no_longer(enter: Any, how: str) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.ask("1", "2", CHAT, "typing", {})
    if how == "leave":
        await ann.ask("1", "3", CHAT, "phx_leave", {})
    else:
        ann.socket.disconnected()
    assert [event["typing"] for event in events(await bob.heard(), "typing")] == [True, False]


# -- events of members


async def test_members_send_each_other_events_with_their_name(enter: Any) -> None:
    ann, bob, tab = await enter("ann", "tab1"), await enter("bob"), await enter("ann", "tab2")
    answer = await ann.ask("1", "2", CHAT, "message", {"text": "hi", "user_id": "bob"})
    assert answer == [["1", "2", CHAT, "phx_reply", {"status": "ok", "response": {}}]]
    for client in (bob, tab):
        assert events(await client.heard(), "message") == [{"text": "hi", "user_id": "ann"}]


async def test_a_group_that_does_not_allow_it_refuses_events_but_not_typing(
    client: Connection, groups: FakeGroups
) -> None:
    groups.put("group:fans", "ann")
    await client.ask("1", "1", "group:fans", "phx_join", {})
    assert reason(await client.ask("1", "2", "group:fans", "message", {})) == "NOT_ALLOWED"
    assert (await client.ask("1", "3", "group:fans", "typing", {}))[0][4]["status"] == "ok"


@pytest.mark.parametrize(
    "event",
    [
        "notification",
        "read",
        "unread_count",
        "resync",
        "removed",
        "phx_x",
        "presence_diff",
        "Message",
        "a b",
        "",
        5,
    ],
)
async def test_the_services_own_events_and_odd_names_are_refused(enter: Any, event: Any) -> None:
    ann = await enter("ann")
    assert reason(await ann.ask("1", "2", CHAT, event, {})) == "INVALID_REQUEST"


@pytest.mark.parametrize("payload", [[], "x", 5, None, {"text": "x" * (16 << 10)}])
async def test_a_payload_that_is_no_small_object_is_refused(enter: Any, payload: Any) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    assert reason(await ann.ask("1", "2", CHAT, "message", payload)) == "INVALID_REQUEST"
    assert events(await bob.heard(), "message") == []


async def test_with_the_bus_away_an_event_is_lost_and_nothing_else(enter: Any, feed: FakeFeed) -> None:
    ann = await enter("ann")
    feed.refusing = True
    await ann.ask("1", "2", CHAT, "message", {"text": "hi"})
    feed.refusing = False
    assert (await ann.ask("1", "3", CHAT, "message", {"text": "hi"}))[0][4]["status"] == "ok"


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"event": "x"},
        {"event": "track", "payload": 5},
        [],
        {"event": "track", "payload": {"a": "x" * 2_000}},
    ],
)
async def test_a_presence_that_is_none_is_refused(enter: Any, payload: Any) -> None:
    ann = await enter("ann")
    assert reason(await ann.ask("1", "2", CHAT, "presence", payload)) == "INVALID_REQUEST"
