"""The protocol over a real socket: frames in, frames out, and what the connection does about bad ones. The
rules themselves are in tests/unit/services/realtime/test_socket.py."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.integration.realtime.conftest import Nats, Node, Person, Publisher, Trust

MESSAGE_MOST_BYTES = 64 << 10


async def test_join_heartbeat_leave(node: Node, trust: Trust, user: str) -> None:
    topic = f"user:{user}"
    async with node.person(trust.token(user)) as person:
        await person.say("20", "20", topic, "phx_join", {})
        answer = await person.hear()
        assert answer[:4] == ["20", "20", topic, "phx_reply"]
        assert answer[4]["status"] == "ok"
        assert answer[4]["response"]["recovered"] is False
        assert answer[4]["response"]["offset"] >= 0
        await person.say(None, "21", "phoenix", "heartbeat", {})
        assert await person.hear() == [
            None,
            "21",
            "phoenix",
            "phx_reply",
            {"status": "ok", "response": {}},
        ]
        await person.say("20", "23", topic, "phx_leave", {})
        assert await person.hear() == ["20", "23", topic, "phx_reply", {"status": "ok", "response": {}}]
        assert await person.hear() == ["20", "20", topic, "phx_close", {}]


async def test_another_persons_topic_is_refused(node: Node, trust: Trust, user: str) -> None:
    async with node.person(trust.token(user)) as person:
        for topic in ("user:victim", "user:", f"user:{user}.>", "user:*", f"user:{user} "):
            answer = await person.join(topic)
            assert answer["status"] == "error"
            assert answer["response"] == {
                "reason": "NOT_ALLOWED",
                "code": 7,
                "message": "this topic is for the user that it names",
            }


async def test_joining_again_and_again_closes_the_older_one_each_time(
    node: Node, trust: Trust, user: str
) -> None:
    async with node.person(trust.token(user)) as person:
        await person.join(f"user:{user}", "0")
        for number in range(1, 101):
            assert (await person.join(f"user:{user}", str(number)))["status"] == "ok"
            before = str(number - 1)
            assert await person.hear() == [before, before, f"user:{user}", "phx_close", {}]


async def test_fragments_are_put_together(node: Node, trust: Trust) -> None:
    parts = [b'[null,"1","pho', b"", b'enix","heart', b'beat",{}]']
    async with raw(node, trust) as person:
        for number, part in enumerate(parts):
            await send_frame(person, 0x1 if number == 0 else 0x0, part, final=number == len(parts) - 1)
        assert (await person.hear())[1] == "1"


async def test_a_control_frame_may_come_between_fragments(node: Node, trust: Trust) -> None:
    async with raw(node, trust) as person:
        await send_frame(person, 0x1, b'[null,"1","phoenix","hear', final=False)
        await send_frame(person, 0x9, b"here?")
        pong = await person.connection.receive(5)
        assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"here?")
        await send_frame(person, 0x0, b'tbeat",{}]')
        assert (await person.hear())[1] == "1"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([(0x1, b'["1","1","user:x","phx_join"]', True)], 1011, id="four elements"),
        pytest.param([(0x1, b"no json", True)], 1011, id="no json"),
        pytest.param([(0x1, b'[null,"1","phoenix","heartbeat",NaN]', True)], 1011, id="NaN"),
        pytest.param([(0x1, b'[null,"1","t","e",' + b"[" * 60_000, True)], 1011, id="deep"),
        pytest.param([(0x2, b"\x00\x01\x01", True)], 1011, id="binary cut short"),
        pytest.param([(0x2, b"\x00\x00", False), (0x0, b"\x00", True)], 1011, id="binary in fragments"),
        pytest.param([(0x2, b"\x04\x00\x00\x00\x00", True)], 1011, id="binary of another kind"),
        pytest.param([(0x1, b'["\xff","1","t","e",{}]', True)], 1007, id="not utf-8"),
        pytest.param([(0x1, b" " * (MESSAGE_MOST_BYTES + 1), True)], 1009, id="too big"),
        pytest.param(
            [(0x1, b" " * 40_000, False), (0x0, b" " * 30_000, False)], 1009, id="too big in fragments"
        ),
        pytest.param([(0x0, b"x", True)], 1002, id="continues nothing"),
        pytest.param([(0x1, b"[", False), (0x1, b"[]", True)], 1002, id="two at once"),
        pytest.param([(0x3, b"", True)], 1002, id="unknown opcode"),
    ],
)
async def test_bad_frames_close_with_a_code(
    node: Node, trust: Trust, frames: list[tuple[int, bytes, bool]], code: int
) -> None:
    async with raw(node, trust) as person:
        for opcode, payload, final in frames:
            await send_frame(person, opcode, payload, final=final)
        assert await person.closed() == code


async def test_a_binary_push_is_read(node: Node, trust: Trust, user: str) -> None:
    topic = f"user:{user}".encode()
    frame = bytes((0, 1, 1, len(topic), 3)) + b"12" + topic + b"bin" + b"\xff\x00"
    async with node.person(trust.token(user)) as person:
        await person.join(topic.decode())
        for parts in ([(0x2, frame, True)], [(0x2, frame[:9], False), (0x0, frame[9:], True)]):
            for opcode, payload, final in parts:
                await send_frame(person, opcode, payload, final=final)
            answer = await person.hear()
            while answer[3] != "phx_reply":
                answer = await person.hear()
            assert answer[:4] == ["1", "2", topic.decode(), "phx_reply"]
            assert answer[4]["response"]["reason"] == "INVALID_REQUEST"


async def test_reserved_bits_close_with_1002(node: Node, trust: Trust) -> None:
    async with raw(node, trust) as person:
        await send_frame(person, 0x1 | 0x40, b'[null,"1","phoenix","heartbeat",{}]')
        assert await person.closed() == 1002


async def test_unmasked_frames_close_with_1002(node: Node, trust: Trust) -> None:
    async with raw(node, trust) as person:
        await send_bytes(person, b"\x81\x02[]")
        assert await person.closed() == 1002


async def test_the_largest_message_passes(node: Node, trust: Trust) -> None:
    async with raw(node, trust) as person:
        head, tail = b'[null,"1","phoenix","heartbeat",{"x":"', b'"}]'
        payload = head + b"x" * (MESSAGE_MOST_BYTES - len(head) - len(tail)) + tail
        await send_frame(person, 0x1, payload)
        assert (await person.hear())[1] == "1"


async def test_a_client_that_closes_is_answered_1000(node: Node, trust: Trust) -> None:
    async with node.person(trust.token("ann")) as person:
        await person.connection.close(code=1001)
        assert person.connection.close_code == 1000


async def test_who_says_nothing_is_closed_with_1002_and_a_ping_counts_as_a_word(
    nats: Nats,
    trust: Trust,
    run_node: Callable[..., AbstractAsyncContextManager[Node]],
    publish_on: Callable[[Nats], AbstractAsyncContextManager[Publisher]],
    user: str,
) -> None:
    async with run_node(nats, CROWN_WEBSOCKET_IDLE_S="1.5") as node, publish_on(nats) as publisher:
        async with node.person(trust.token(user)) as talker, node.person(trust.token(user)) as silent:
            await silent.join(f"user:{user}")
            for number in range(8):
                # What the server sends does not count.
                await publisher.notify(user, f"n{number}", title="t")
                await talker.connection.ping()
                await asyncio.sleep(0.3)
            assert await silent.closed() == 1002
            await talker.say(None, "1", "phoenix", "heartbeat", {})
            while (message := await talker.connection.receive(5)).type == aiohttp.WSMsgType.PONG:
                pass
            assert message.type == aiohttp.WSMsgType.TEXT


def raw(node: Node, trust: Trust) -> AbstractAsyncContextManager[Person]:
    """A client that may break the rules of WebSocket."""
    return node.person(trust.token("ann"))


async def send_frame(person: Person, first: int, payload: bytes, final: bool = True) -> None:
    """One masked frame, whatever is in it."""
    size, mask = len(payload), os.urandom(4)
    head = bytes([first | (0x80 if final else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    await send_bytes(person, head + mask + masked)


async def send_bytes(person: Person, data: bytes) -> None:
    """Bytes below the client's WebSocket."""
    connection = person.connection._response.connection
    assert connection is not None
    assert connection.transport is not None
    connection.transport.write(data)
