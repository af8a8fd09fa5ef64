"""A bus without a network, and a transport that keeps what it is handed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from nats.aio.msg import Msg

from crown import vault
from crown.auth import Principal
from crown.errors import BusUnavailable
from crown.notification.v1 import events_pb2
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from services.realtime.address import Address
from services.realtime.closecodes import Close
from services.realtime.feed import Feed
from services.realtime.hub import Hub
from services.realtime.serializer import V2
from services.realtime.socket import Socket
from services.realtime.websocket import TextFrames

KEY = vault.Key(bytes(32))


class FakeFeed:
    """Topics in memory. `refusing` makes it act as a bus that is away; `gate` holds up answers."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.current = True
        self.refusing = False
        self.gate: asyncio.Event | None = None
        self.opened: dict[str, Callable[[Msg], None]] = {}
        self.closed: list[str] = []
        self.asked = 0
        self.last: dict[str, int] = {}

    async def open(self, address: Address, receive: Callable[[Msg], None]) -> str:
        """See Feed."""
        if self.refusing:
            raise BusUnavailable("away")
        self.opened[address.topic] = receive
        return address.topic

    def close(self, subscription: str) -> None:
        """See Feed."""
        self.closed.append(subscription)

    async def last_offset(self, address: Address) -> int:
        """See Feed."""
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.refusing:
            raise BusUnavailable("away")
        return self.last.get(address.topic, 0)

    def arrives(self, topic: str, offset: int, before: int, body: bytes) -> None:
        """A message of the bus."""
        headers = {"Nats-Sequence": str(offset), "Nats-Last-Sequence": str(before)}
        self.opened[topic](Msg(cast(Any, None), data=body, headers=headers))


class FakeOutlet:
    """A transport that keeps what it is handed."""

    def __init__(self) -> None:
        self.encoding = TextFrames(V2())
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
            self.sent.append(json.loads(frames[at : at + size]))
            frames = frames[at + size :]

    def send(self, frame: bytes) -> None:
        """One message."""
        self.sent.append(json.loads(frame))

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


class Connection:
    """A socket under test, with its fakes."""

    def __init__(self, feed: FakeFeed, hub: Hub, subject: str = "ann", use: str = "user") -> None:
        self.feed = feed
        self.hub = hub
        self.outlet = FakeOutlet()
        self._tasks: set[asyncio.Task[None]] = set()
        principal = Principal(use, subject, frozenset(), 2e9)
        self.socket = Socket(principal, V2(), hub, self.outlet, self._spawn)

    def say(self, *frame: Any) -> None:
        """One message of the client."""
        self.socket.receive(json.dumps(frame))

    async def ask(self, *frame: Any) -> list[Any]:
        """One message, and what comes of it."""
        self.say(*frame)
        return await self.heard()

    async def heard(self) -> list[Any]:
        """What the client got since the last time, once everything has come to rest."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.outlet.heard()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


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
async def hub(feed: FakeFeed) -> Hub:
    """A hub on that bus."""
    return Hub(cast(Feed, feed), KEY)


@pytest.fixture
def connect(feed: FakeFeed, hub: Hub) -> Callable[..., Connection]:
    """Makes connections to that hub."""
    return lambda subject="ann", use="user": Connection(feed, hub, subject, use)


@pytest.fixture
def client(connect: Callable[..., Connection]) -> Connection:
    """One of them, of the user ann."""
    return connect()
