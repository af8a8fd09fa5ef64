"""What a Phoenix server says to each message, without a transport."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from services.realtime import closecodes, topics
from services.realtime.channel import Channel, Welcome
from services.realtime.serializer import V1, V2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.services.realtime.conftest import Connection, FakeFeed

OK: dict[str, Any] = {"status": "ok", "response": {}}
TOPIC = "user:ann"
UNMATCHED = {
    "status": "error",
    "response": {
        "reason": "unmatched topic",
        "code": 5,
        "message": "there is no such topic, or it is not joined",
    },
}


class Room(Channel):
    """A topic of these tests that anybody may join, and that can be told to break."""

    KINDS = ("room",)

    async def join(self, payload: Any) -> Welcome:
        """Breaks, waits, or lets in."""
        match payload:
            case {"break": _}:
                raise RuntimeError("secret")
            case {"wait": seconds}:
                await asyncio.sleep(seconds)
        return Welcome({"in": self.topic})

    def handle(self, event: object, payload: Any) -> Any:
        """Breaks, echoes, or refuses."""
        if event == "break":
            raise RuntimeError("secret")
        if event == "echo":
            return payload
        return super().handle(event, payload)


@pytest.fixture(autouse=True)
def _rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(topics.KINDS, "room", Room)


@pytest.fixture(params=[V2, V1], ids=["v2", "v1"])
def connect(request: pytest.FixtureRequest, connect: Callable[..., Connection]) -> Callable[..., Connection]:
    """Makes connections that speak each version: the rules are the same."""
    return partial(connect, serializer=request.param())


@pytest.fixture
async def member(client: Connection) -> Connection:
    """On room:1 with join_ref "1"."""
    assert await client.ask("1", "1", "room:1", "phx_join", {}) == [
        ["1", "1", "room:1", "phx_reply", {"status": "ok", "response": {"in": "room:1"}}]
    ]
    return client


async def test_a_heartbeat_needs_no_join_and_has_no_join_ref(client: Connection) -> None:
    assert await client.ask(None, "5", "phoenix", "heartbeat", {}) == [
        [None, "5", "phoenix", "phx_reply", OK]
    ]
    assert await client.ask("9", 6, "phoenix", "heartbeat", {}) == [[None, 6, "phoenix", "phx_reply", OK]]


@pytest.mark.parametrize("ref", ["1", 1, None, 1.5, {"a": [1]}, 10**30])
async def test_refs_are_opaque(client: Connection, ref: Any) -> None:
    assert (await client.ask(None, ref, "phoenix", "heartbeat", {}))[0][1] == ref


async def test_joining_ones_own_topic_answers_where_it_stands(client: Connection, feed: FakeFeed) -> None:
    feed.store(TOPIC, b"", 7)
    answer = {"status": "ok", "response": {"recovered": False, "offset": 7, "epoch": "e1"}}
    assert await client.ask("1", "1", TOPIC, "phx_join", {}) == [["1", "1", TOPIC, "phx_reply", answer]]


@pytest.mark.parametrize(
    ("subject", "use", "topic"),
    [
        ("ann", "user", "user:bob"),
        ("ann", "user", "user:"),
        ("ann", "user", "user:ANN"),
        ("ann", "user", "user:ann "),
        ("ann", "user", "user:*"),
        ("ann", "service", "user:ann"),
        ("ann", "operator", "user:ann"),
    ],
)
async def test_others_topics_are_refused_with_the_joins_refs(
    connect: Callable[..., Connection], subject: str, use: str, topic: str
) -> None:
    client = connect(subject, use)
    ((join_ref, ref, about, event, payload),) = await client.ask("4", "4", topic, "phx_join", {})
    assert (join_ref, ref, about, event) == ("4", "4", topic, "phx_reply")
    assert payload["status"] == "error"
    assert (payload["response"]["reason"], payload["response"]["code"]) == ("NOT_ALLOWED", 7)
    assert await client.ask("4", "5", topic, "x", {}) == [[None, "5", topic, "phx_reply", UNMATCHED]]


async def test_a_topic_that_does_not_exist_is_unmatched(client: Connection) -> None:
    assert await client.ask("1", "1", "zap:1", "phx_join", {}) == [
        [None, "1", "zap:1", "phx_reply", UNMATCHED]
    ]
    assert await client.ask("1", "2", "zap:1", "msg", {}) == [[None, "2", "zap:1", "phx_reply", UNMATCHED]]


@pytest.mark.parametrize("topic", [5, None, ["user:ann"], {"a": 1}, True])
@pytest.mark.parametrize("event", ["phx_join", "msg", 7])
async def test_a_topic_that_is_no_string_is_unmatched(client: Connection, topic: Any, event: Any) -> None:
    assert await client.ask("1", "1", topic, event, {}) == [[None, "1", topic, "phx_reply", UNMATCHED]]


async def test_leaving_what_was_not_joined_is_fine(client: Connection) -> None:
    assert await client.ask("3", "4", "room:1", "phx_leave", {}) == [["3", "4", "room:1", "phx_reply", OK]]


async def test_leaving_answers_and_then_closes(member: Connection) -> None:
    assert await member.ask("1", "2", "room:1", "phx_leave", {}) == [
        ["1", "2", "room:1", "phx_reply", OK],
        ["1", "1", "room:1", "phx_close", {}],
    ]
    assert await member.ask("1", "3", "room:1", "echo", {}) == [[None, "3", "room:1", "phx_reply", UNMATCHED]]


async def test_a_push_is_answered_with_the_joins_join_ref(member: Connection) -> None:
    answer = {"status": "ok", "response": {"z": 1}}
    assert await member.ask("1", "2", "room:1", "echo", {"z": 1}) == [
        ["1", "2", "room:1", "phx_reply", answer]
    ]
    assert await member.ask(None, "3", "room:1", "echo", {"z": 1}) == [
        ["1", "3", "room:1", "phx_reply", answer]
    ]


@pytest.mark.parametrize("stale", ["0", 1, "", "01"])
@pytest.mark.parametrize("event", ["echo", "phx_leave"])
async def test_what_belongs_to_an_earlier_join_gets_no_answer(
    member: Connection, stale: Any, event: str
) -> None:
    assert await member.ask(stale, "2", "room:1", event, {}) == []
    assert len(await member.ask("1", "3", "room:1", "echo", {})) == 1


async def test_a_join_without_join_ref_goes_by_its_ref(client: Connection) -> None:
    joined = {"status": "ok", "response": {"in": "room:1"}}
    assert await client.ask(None, "9", "room:1", "phx_join", {}) == [
        [None, "9", "room:1", "phx_reply", joined]
    ]
    assert await client.ask(None, "10", "room:1", "echo", {}) == [["9", "10", "room:1", "phx_reply", OK]]
    assert await client.ask("9", "11", "room:1", "echo", {}) == []


async def test_joining_again_closes_the_older_after_the_answer(member: Connection) -> None:
    joined = {"status": "ok", "response": {"in": "room:1"}}
    assert await member.ask("20", "20", "room:1", "phx_join", {}) == [
        ["20", "20", "room:1", "phx_reply", joined],
        ["1", "1", "room:1", "phx_close", {}],
    ]
    assert await member.ask("1", "21", "room:1", "echo", {}) == []
    assert len(await member.ask("20", "22", "room:1", "echo", {})) == 1


async def test_joining_again_in_vain_ends_the_older_all_the_same(member: Connection) -> None:
    found = await member.ask("20", "20", "room:1", "phx_join", {"break": 1})
    assert [frame[3] for frame in found] == ["phx_reply", "phx_close"]
    assert await member.ask("1", "2", "room:1", "echo", {}) == [[None, "2", "room:1", "phx_reply", UNMATCHED]]


async def test_a_hundred_topics_and_no_more(client: Connection) -> None:
    for number in range(100):
        await client.ask(number, number, f"room:{number}", "phx_join", {})
    too_many = {
        "status": "error",
        "response": {
            "reason": "too many channels joined",
            "code": 8,
            "message": "a socket is on 100 topics at most",
        },
    }
    assert await client.ask("x", "x", "room:100", "phx_join", {}) == [
        ["x", "x", "room:100", "phx_reply", too_many]
    ]
    again = await client.ask("y", "y", "room:5", "phx_join", {})
    assert [frame[3] for frame in again] == ["phx_reply", "phx_close"]
    await client.ask("y", "z", "room:5", "phx_leave", {})
    assert (await client.ask("x", "x", "room:100", "phx_join", {}))[0][4]["status"] == "ok"


async def test_a_crash_in_join_is_told_without_its_text(client: Connection) -> None:
    crashed = {
        "status": "error",
        "response": {"reason": "join crashed", "code": 13, "message": "internal error"},
    }
    assert await client.ask("1", "1", "room:1", "phx_join", {"break": 1}) == [
        ["1", "1", "room:1", "phx_reply", crashed]
    ]
    assert client.outlet.closes == []


async def test_a_crash_later_ends_the_channel_and_not_the_connection(member: Connection) -> None:
    assert await member.ask("1", "2", "room:1", "break", {}) == [
        [
            "1",
            "1",
            "room:1",
            "phx_error",
            {"reason": "channel_crash", "code": 13, "message": "internal error"},
        ]
    ]
    assert await member.ask("1", "3", "room:1", "echo", {}) == [[None, "3", "room:1", "phx_reply", UNMATCHED]]
    assert len(await member.ask(None, "4", "phoenix", "heartbeat", {})) == 1


@pytest.mark.parametrize("event", ["nothing", "", 5, None])
async def test_an_event_that_the_topic_does_not_take_is_refused(member: Connection, event: Any) -> None:
    ((*refs, payload),) = await member.ask("1", "2", "room:1", event, {})
    assert refs == ["1", "2", "room:1", "phx_reply"]
    assert payload["status"] == "error"
    assert payload["response"]["reason"] == "INVALID_REQUEST"


async def test_while_a_join_waits_the_rest_waits_too_and_keeps_its_order(
    client: Connection, feed: FakeFeed
) -> None:
    feed.gate = asyncio.Event()
    client.say("1", "1", TOPIC, "phx_join", {})
    client.say(None, "2", "phoenix", "heartbeat", {})
    client.say("3", "3", "room:1", "phx_join", {})
    client.say("3", "4", "room:1", "echo", {})
    assert await client.heard() == []
    assert client.outlet.paused
    feed.gate.set()
    assert [frame[1] for frame in await client.heard()] == ["1", "2", "3", "4"]
    assert not client.outlet.paused


async def test_a_bus_that_is_away_refuses_and_says_to_come_again(client: Connection, feed: FakeFeed) -> None:
    feed.refusing = True
    ((*_, payload),) = await client.ask("1", "1", TOPIC, "phx_join", {})
    assert (payload["response"]["reason"], payload["response"]["code"]) == ("BUS_UNAVAILABLE", 14)
    feed.refusing = False
    assert (await client.ask("2", "2", TOPIC, "phx_join", {}))[0][4]["status"] == "ok"


async def test_a_join_that_takes_too_long_is_refused(
    client: Connection, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.realtime.socket.JOIN_TIMEOUT_S", 0.0)
    feed.gate = asyncio.Event()
    ((*_, payload),) = await client.ask("1", "1", TOPIC, "phx_join", {})
    assert payload["response"]["reason"] == "BUS_UNAVAILABLE"
    assert feed.closed == [TOPIC]


async def test_whoever_goes_leaves_every_topic(client: Connection, feed: FakeFeed) -> None:
    await client.ask("1", "1", TOPIC, "phx_join", {})
    client.socket.disconnected()
    assert feed.closed == [TOPIC]
    client.socket.disconnected()
    assert feed.closed == [TOPIC]


async def test_whoever_goes_in_the_middle_of_a_join_leaves_nothing_behind(
    client: Connection, feed: FakeFeed
) -> None:
    feed.gate = asyncio.Event()
    client.say("1", "1", TOPIC, "phx_join", {})
    await client.heard()
    client.socket.disconnected()
    feed.gate.set()
    assert await client.heard() == []
    assert feed.closed == [TOPIC]


async def test_what_is_no_message_closes_with_1011(client: Connection) -> None:
    client.socket.receive('["1","1","room:1"]')
    assert client.outlet.closes == [closecodes.UNDECODABLE]


async def test_broadcasts_have_no_refs(
    client: Connection, feed: FakeFeed, sealed: Callable[..., bytes]
) -> None:
    await client.ask("1", "1", TOPIC, "phx_join", {})
    feed.arrives(TOPIC, 1, 0, sealed())
    ((*head, payload),) = await client.heard()
    assert head == [None, None, TOPIC, "notification"]
    assert payload["notification_id"] == "n1"


def binary_push(*fields: str) -> bytes:
    """A client's binary frame with the bytes ff 00."""
    return bytes((0, *map(len, fields))) + "".join(fields).encode() + b"\xff\x00"


@pytest.mark.parametrize("connect", [V2], indirect=True)
async def test_a_binary_push_is_answered_in_binary(client: Connection) -> None:
    await client.ask("1", "1", "room:1", "phx_join", {})
    client.socket.receive(binary_push("1", "2", "room:1", "echo"))
    assert await client.heard() == [b"\x01\x01\x01\x06\x0212room:1ok\xff\x00"]
    client.socket.receive(binary_push("0", "3", "room:1", "echo"))
    client.socket.receive(binary_push("", "4", "room:1", "echo"))
    assert await client.heard() == []
    client.socket.receive(binary_push("1", "5", "room:2", "echo"))
    client.socket.receive(binary_push("1", "6", "room:1", "nothing"))
    unmatched, refused = await client.heard()
    assert unmatched == [None, "5", "room:2", "phx_reply", UNMATCHED]
    assert refused[:4] == ["1", "6", "room:1", "phx_reply"]
    assert client.outlet.closes == []


async def test_a_broken_binary_frame_closes_with_1011(client: Connection) -> None:
    client.socket.receive(b"\x00\x01\x01")
    assert client.outlet.closes == [closecodes.UNDECODABLE]
