"""A bus without a network, and a transport that keeps what it is handed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from unittest.mock import ANY

import pytest
from nats.aio.msg import Msg
from pymongo.errors import PyMongoError

from crown import vault
from crown.auth import Authenticator, Principal
from crown.errors import BusUnavailable, Unauthenticated
from crown.groups import Group, Groups
from crown.notification.v1 import events_pb2
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from crown.subjects import LIVE_KEPT_EACH
from crown.unread import Unread
from services.realtime.address import Address
from services.realtime.channel import Backend
from services.realtime.closecodes import Close
from services.realtime.counts import UnreadCounts
from services.realtime.feed import Bounds, Feed, Standing
from services.realtime.hub import Hub
from services.realtime.memberships import Memberships
from services.realtime.message import Frame
from services.realtime.presence.board import Figures
from services.realtime.presence.board_memory import MemoryBoard
from services.realtime.presence.tracker import Tracker
from services.realtime.serializer import V1, V2, Serializer
from services.realtime.socket import Socket
from services.realtime.websocket import WebSocketFrames

KEY = vault.Key(bytes(32))


class FakeFeed:
    """A stream in memory. `refusing` makes it act as a bus that is away; `gate` holds up answers."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.current = True
        self.refusing = False
        self.gate: asyncio.Event | None = None
        self.opened: dict[str, Callable[[Msg], None]] = {}
        self.closed: list[str] = []
        self.told: list[tuple[str, bytes]] = []
        self.asked = 0
        # What the stream keeps: topic, then sequence, then body. `first` and `top` are its own bounds.
        self.stored: dict[str, dict[int, bytes]] = {}
        self.first = 1
        self.top = 0
        self.floor = 0
        self.each_most = LIVE_KEPT_EACH

    # -- as the node sees it

    async def open(self, address: Address, receive: Callable[[Msg], None]) -> str:
        """See Feed."""
        if self.refusing:
            raise BusUnavailable("away")
        self.opened[address.topic] = receive
        return address.topic

    def close(self, subscription: str) -> None:
        """See Feed."""
        self.closed.append(subscription)
        self.opened.pop(subscription, None)

    async def standing(self, address: Address) -> Standing:
        """See Feed."""
        self.asked += 1
        floor = self.floor
        await self._answer()
        last = max(self.stored.get(address.topic, {}), default=0)
        return Standing(last, max(last, floor))

    async def bounds(self) -> Bounds:
        """See Feed."""
        await self._answer()
        self.floor = max(self.floor, self.top)
        return Bounds(self.first, self.top)

    async def kept(self, address: Address, offset: int, most: int) -> list[Msg]:
        """See Feed."""
        await self._answer()
        found = sorted(self.stored.get(address.topic, {}).items())
        return [self._message(at, 0, body) for at, body in found if at >= offset][:most]

    async def tell(self, address: Address, body: bytes) -> None:
        """See Feed."""
        if self.refusing:
            raise BusUnavailable("away")
        self.told.append((address.topic, body))
        if receive := self.opened.get(address.topic):
            receive(Msg(cast(Any, None), data=body))

    async def _answer(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.refusing:
            raise BusUnavailable("away")

    # -- what happens

    def store(self, topic: str, body: bytes, offset: int = 0) -> tuple[int, int]:
        """Keeps an event, by default as the next one: its place, and that of the topic's event before it."""
        self.top = offset or self.top + 1
        mine = self.stored.setdefault(topic, {})
        before = max(mine, default=0)
        mine[self.top] = body
        while len(mine) > self.each_most:
            del mine[min(mine)]
        return self.top, before

    def publish(self, topic: str, body: bytes, offset: int = 0) -> int:
        """Keeps an event and sends it to who hears the topic."""
        at, before = self.store(topic, body, offset)
        self.arrives(topic, at, before, body)
        return at

    def drop_before(self, sequence: int) -> None:
        """The stream drops everybody's oldest, as its age or its size has it."""
        for mine in self.stored.values():
            for at in [at for at in mine if at < sequence]:
                del mine[at]
        left = [at for mine in self.stored.values() for at in mine]
        self.first = min(left, default=self.top + 1)

    def arrives(self, topic: str, offset: int, before: int, body: bytes) -> None:
        """A message of the bus."""
        if receive := self.opened.get(topic):
            receive(self._message(offset, before, body))

    def _message(self, offset: int, before: int, body: bytes) -> Msg:
        headers = {"Nats-Sequence": str(offset), "Nats-Last-Sequence": str(before)}
        return Msg(cast(Any, None), data=body, headers=headers)


class FakeGroups:
    """Who is in which group."""

    def __init__(self) -> None:
        self.members: dict[tuple[str, str], Group] = {}
        self.away = False

    def put(self, topic: str, *user_ids: str, client_events: bool = False) -> None:
        """Makes these people members."""
        kind, _, name = topic.partition(":")
        group = Group(name, cast(Any, kind), client_events, datetime(2026, 11, 22, tzinfo=UTC))
        for user_id in user_ids:
            self.members[name, user_id] = group

    async def membership(self, asked: tuple[str, str]) -> Group | None:
        """See Groups."""
        if self.away:
            raise PyMongoError("secret")
        return self.members.get(asked)


class FakeUnread:
    """Counts that tests set."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.asked = 0
        self.away = False

    async def count(self, user_id: str) -> int:
        """See Unread."""
        self.asked += 1
        if self.away:
            raise PyMongoError("secret")
        return self.counts.get(user_id, 0)


class FakeOutlet:
    """A transport that keeps what it is handed."""

    def __init__(self, name: str, serializer: Serializer) -> None:
        self.id = name
        self.encoding = WebSocketFrames(serializer)
        self.sent: list[Any] = []
        self.closes: list[Close] = []
        self.paused = False

    def deliver(self, frames: bytes) -> None:
        """Ready-made frames of a broadcast, taken apart."""
        while frames:
            size, at = frames[1], 2
            if size == 126:
                size, at = int.from_bytes(frames[2:4], "big"), 4
            elif size == 127:
                size, at = int.from_bytes(frames[2:10], "big"), 10
            self.send(Frame(frames[at : at + size], binary=frames[0] == 0x82))
            frames = frames[at + size :]

    def send(self, frame: Frame) -> None:
        """One message: text as the array that V2 has, binary as bytes."""
        found = frame.data if frame.binary else json.loads(frame.data)
        if isinstance(found, dict):
            # V1 names no join_ref.
            found = [ANY, *(found[name] for name in ("ref", "topic", "event", "payload"))]
        self.sent.append(found)

    def close(self, why: Close) -> None:
        """See Outlet."""
        self.closes.append(why)

    def pause(self) -> None:
        """See Outlet."""
        self.paused = True

    def resume(self) -> None:
        """See Outlet."""
        self.paused = False

    def heard(self) -> list[Any]:
        """What was sent since the last time."""
        sent, self.sent = self.sent, []
        return sent


class FakeTokens:
    """Tokens by their text; those that are `cold` are signed with a key that was not read yet."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}
        self.cold: set[str] = set()

    def at_once(self, token: str) -> Principal | None:
        """See Authenticator."""
        if token in self.cold:
            return None
        if token not in self.known:
            raise Unauthenticated("the token does not verify")
        return self.known[token]

    async def principal(self, token: str) -> Principal:
        """See Authenticator."""
        await asyncio.sleep(0)
        self.cold.discard(token)
        found = self.at_once(token)
        assert found is not None
        return found


class Connection:
    """A socket under test, with its fakes."""

    def __init__(
        self,
        backend: Backend,
        subject: str = "ann",
        use: str = "user",
        name: str = "",
        serializer: Serializer | None = None,
    ) -> None:
        speaks = serializer or V2()
        self._old = isinstance(speaks, V1)
        self.outlet = FakeOutlet(name or subject, speaks)
        principal = Principal(use, subject, frozenset(), 2e9)
        self.socket = Socket(principal, speaks, self.outlet, backend)

    def say(self, *frame: Any) -> None:
        """One message of the client."""
        fields = ("join_ref", "ref", "topic", "event", "payload")
        self.socket.receive(json.dumps(dict(zip(fields, frame, strict=True)) if self._old else frame))

    async def ask(self, *frame: Any) -> list[Any]:
        """One message, and what comes of it."""
        self.say(*frame)
        return await self.heard()

    async def heard(self) -> list[Any]:
        """What the client got since the last time, once everything has come to rest."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.outlet.heard()


def notification(number: int = 1, **data: Any) -> bytes:
    """A sealed live event."""
    content = events_pb2.NotificationContent(
        data=NotificationData(**(data or {"title": "t"})).SerializeToString()
    )
    event = events_pb2.LiveEvent(
        user_id="ann",
        event="notification",
        notification_id=f"n{number}",
        kind="comment",
        category=Category.SOCIAL,
        content=vault.seal(KEY, content.SerializeToString()),
    )
    event.create_time.FromJsonString("2026-11-22T10:00:00Z")
    return event.SerializeToString()


@pytest.fixture
def sealed() -> Callable[..., bytes]:
    """Makes live events."""
    return notification


@pytest.fixture
def data_key() -> vault.Key:
    """The key of those events."""
    return KEY


@pytest.fixture
async def feed() -> FakeFeed:
    """The bus."""
    return FakeFeed()


@pytest.fixture
async def spawn() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], object]]:
    """Runs tasks, and sees to their end."""
    tasks: set[asyncio.Task[None]] = set()

    def run(work: Coroutine[Any, Any, None]) -> object:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    yield run
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


Spawn = Callable[[Coroutine[Any, Any, None]], object]


@pytest.fixture
async def hub(feed: FakeFeed, spawn: Spawn) -> Hub:
    """A hub on that bus."""
    return Hub(cast(Feed, feed), KEY, spawn)


@pytest.fixture
def groups() -> FakeGroups:
    """Who may join what."""
    return FakeGroups()


@pytest.fixture
def unread() -> FakeUnread:
    """How much people have not read."""
    return FakeUnread()


@pytest.fixture
def tokens() -> FakeTokens:
    """Which tokens are good."""
    return FakeTokens()


@pytest.fixture
async def backend(
    hub: Hub, groups: FakeGroups, unread: FakeUnread, tokens: FakeTokens, spawn: Spawn
) -> AsyncIterator[Backend]:
    """What channels work with."""
    figures = Figures(gather_s=0.01, spacing_s=0.0)
    presence = Tracker(MemoryBoard(), hub.publish_ephemeral, hub.stale, figures)
    hub.on_presence(presence.heard)
    running = asyncio.create_task(presence.run())
    yield Backend(
        hub,
        cast(Groups, groups),
        Memberships(cast(Groups, groups)),
        UnreadCounts(cast(Unread, unread), hub, spawn),
        presence,
        cast(Authenticator, tokens),
        spawn,
    )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def connect(backend: Backend) -> Callable[..., Connection]:
    """Makes connections to that hub."""
    return partial(Connection, backend)


@pytest.fixture
def client(connect: Callable[..., Connection]) -> Connection:
    """One of them, of the user ann."""
    return connect()
