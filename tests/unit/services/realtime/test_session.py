"""Long-poll sessions without HTTP: what waits for the client, what ends them, and who reaches them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest

from crown import vault
from crown.auth import Principal
from crown.bus import Bus
from services.realtime import closecodes, sessions
from services.realtime.limits import Pace
from services.realtime.message import Frame
from services.realtime.serializer import V2
from services.realtime.session import ANSWER_MOST_BYTES, Session, SessionOver, TextFrames
from services.realtime.sessions import Answer, Sessions, Tokens
from services.realtime.socket import Socket
from services.realtime.websocket import MESSAGE_MOST_BYTES, QUEUE_MOST_BYTES

if TYPE_CHECKING:
    from services.realtime.channel import Backend
    from tests.unit.services.realtime.conftest import FakeFeed

BEAT = '[null,"1","phoenix","heartbeat",{}]'
TOPIC = "user:ann"


@pytest.fixture
async def session(backend: Backend) -> Session:
    """A session of ann."""
    serializer = V2(sends_binary=False)
    found = Session("ann", TextFrames(serializer))
    found.serve(Socket(Principal("user", "ann", frozenset(), 2e9), serializer, found, backend))
    return found


@pytest.fixture
async def here(data_key: vault.Key, backend: Backend) -> Sessions:
    """The sessions of a process that needs no bus."""
    return Sessions("node", cast(Bus, None), data_key, backend.spawn, 0.05)


async def test_what_waits_is_answered_at_once_and_only_once(session: Session) -> None:
    session.send(Frame(b"one"))
    session.deliver([b"two", "drei für".encode()])
    assert await session.poll(10) == ["one", "two", "drei für"]
    assert await session.poll(0.01) == []


async def test_a_poll_that_waits_hears_what_comes(session: Session) -> None:
    waiting = asyncio.create_task(session.poll(10))
    await asyncio.sleep(0)
    session.deliver([b"x"])
    assert await waiting == ["x"]


async def test_an_answer_is_bounded_and_the_rest_comes_with_the_next(session: Session) -> None:
    half = b"x" * (ANSWER_MOST_BYTES // 2)
    session.deliver([half, half, b"y", half * 3, b"z"])
    assert [len(await session.poll(10)) for _ in range(4)] == [2, 1, 1, 1]


async def test_a_client_that_does_not_poll_is_slow(session: Session) -> None:
    ended: list[str] = []
    session.on_end(lambda: ended.append("session"))
    piece = b"x" * (QUEUE_MOST_BYTES // 4)
    for _ in range(4):
        session.deliver([piece])
    await asyncio.sleep(0)
    assert ended == []
    # Nothing may be left in the middle of a broadcast.
    session.deliver([b"x"])
    assert ended == []
    await asyncio.sleep(0)
    assert ended == ["session"]
    with pytest.raises(SessionOver):
        await session.poll(10)
    with pytest.raises(SessionOver):
        await session.push([BEAT])


async def test_what_was_taken_no_longer_counts(session: Session) -> None:
    for _ in range(10):
        session.deliver([b"x" * (QUEUE_MOST_BYTES // 2)])
        await session.poll(10)
    await asyncio.sleep(0)
    assert session.closing_since is None


async def test_its_end_wakes_the_poll_and_leaves_every_topic(session: Session, feed: FakeFeed) -> None:
    await session.push([f'["1","1","{TOPIC}","phx_join",{{}}]'])
    assert TOPIC in feed.opened
    waiting = [asyncio.create_task(session.poll(10))]
    await asyncio.sleep(0)
    await session.poll(0.01)
    waiting.append(asyncio.create_task(session.poll(10)))
    await asyncio.sleep(0)
    session.close(closecodes.RESTART)
    session.close(closecodes.IDLE)
    with pytest.raises(SessionOver):
        await waiting[1]
    assert feed.closed == [TOPIC]
    session.deliver([b"late"])
    session.send(Frame(b"late"))


async def test_frames_wait_while_a_join_is_under_way(session: Session, feed: FakeFeed) -> None:
    feed.gate = asyncio.Event()
    first = asyncio.create_task(session.push([f'["1","1","{TOPIC}","phx_join",{{}}]', BEAT]))
    second = asyncio.create_task(session.push([f'["1","3","{TOPIC}","phx_leave",{{}}]']))
    assert await session.poll(0.02) == []
    assert not first.done()
    assert not second.done()
    feed.gate.set()
    await asyncio.gather(first, second)
    heard = [json.loads(text) for text in await session.poll(10)]
    assert [frame[1] for frame in heard if frame[3] == "phx_reply"] == ["1", "1", "3"]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param('["1","1","t"]', id="no message"),
        pytest.param(b"\x00\x01", id="no binary message"),
        pytest.param("x" * (MESSAGE_MOST_BYTES + 1), id="too big"),
        pytest.param("ü" * (MESSAGE_MOST_BYTES // 2 + 1), id="too big in UTF-8"),
        pytest.param(b"\x00" * (MESSAGE_MOST_BYTES + 1), id="too big in binary"),
    ],
)
async def test_a_bad_frame_ends_it(session: Session, frame: str | bytes) -> None:
    with pytest.raises(SessionOver):
        await session.push([frame, BEAT])
    assert session.closing_since is not None


async def test_a_push_that_takes_too_long_is_408(
    here: Sessions, session: Session, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PUSH_TIMEOUT_S", 0.01)
    feed.gate = asyncio.Event()
    token = here.keep(session)
    assert await here.push(token, [f'["1","1","{TOPIC}","phx_join",{{}}]'.encode()]) == Answer(408)
    feed.gate.set()


async def test_a_session_is_found_until_it_ends(here: Sessions, session: Session) -> None:
    token = here.keep(session)
    assert len(here) == 1
    assert await here.poll(token) == Answer(204)
    assert await here.push(token, [BEAT.encode()]) == Answer(200)
    assert (await here.poll(token)).status == 200
    session.close(closecodes.IDLE)
    assert len(here) == 0
    assert await here.poll(token) == Answer(410)
    assert await here.push(token, [BEAT.encode()]) == Answer(410)


async def test_there_is_room_for_so_many(
    here: Sessions, monkeypatch: pytest.MonkeyPatch, backend: Backend
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MOST", 2)
    made = [Session(name, TextFrames(V2(sends_binary=False))) for name in "ab"]
    for session in made:
        assert not here.full
        here.keep(session)
    assert here.full
    made[0].close(closecodes.IDLE)
    assert not here.full


async def test_only_those_who_poll_stay(here: Sessions) -> None:
    kept, forgotten = (Session(name, TextFrames(V2(sends_binary=False))) for name in "ab")
    token = here.keep(kept)
    here.keep(forgotten)
    watching = asyncio.create_task(here.watch())
    for _ in range(4):
        assert await here.poll(token) == Answer(204)
    assert (kept.closing_since, forgotten.closing_since is None) == (None, False)
    watching.cancel()


def test_a_token_names_its_session(data_key: vault.Key) -> None:
    tokens = Tokens(data_key)
    token = tokens.sign("node1", "s1")
    assert Tokens.looks_like_one(token)
    assert tokens.read(token) == ("node1", "s1")
    assert Tokens(vault.Key(b"1" * 32)).read(token) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token.replace("node1", "node2"),
        lambda token: token.replace("s1", "s2"),
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token + "\u00e9",
        lambda token: token + "\udc80",
        lambda token: token.replace("node1", "n\udc80de1"),
        lambda token: "",
        lambda token: "lp1...",
    ],
)
def test_a_forged_token_is_none(data_key: vault.Key, spoil: Callable[[str], Any]) -> None:
    tokens = Tokens(data_key)
    assert tokens.read(spoil(tokens.sign("node1", "s1"))) is None


async def test_who_says_too_much_is_over(backend: Backend) -> None:
    serializer = V2(sends_binary=False)
    found = Session("ann", TextFrames(serializer), pace=Pace.of(1, 3))
    found.serve(Socket(Principal("user", "ann", frozenset(), 2e9), serializer, found, backend))
    await found.push([BEAT] * 3)
    with pytest.raises(SessionOver):
        await found.push([BEAT])


async def test_an_end_that_was_is_told_at_once(session: Session) -> None:
    ended: list[str] = []
    session.abort()
    session.on_end(lambda: ended.append("session"))
    assert ended == ["session"]
