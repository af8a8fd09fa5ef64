"""What is for everybody: who gets a frame, who does not, and that the store is not asked all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, cast

import pytest
from nats.aio.msg import Msg
from pymongo.errors import PyMongoError

from crown import vault
from crown.choices import Choices
from crown.notification.v1 import events_pb2
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from services.realtime import everyone
from services.realtime.everyone import Everyone
from tests.unit.services.realtime.conftest import KEY

if TYPE_CHECKING:
    from services.realtime.hub import Hub
    from services.realtime.tasks import Spawn
    from tests.unit.services.realtime.conftest import Connection


class Bus:
    """Keeps who listens."""

    def __init__(self) -> None:
        self.client = self
        self.hear: Callable[[Msg], Any] | None = None
        self.again: Callable[[], Any] | None = None
        self.number = 0
        self.away = False

    def on_reconnect(self, action: Callable[[], Any]) -> None:
        """Notes it."""
        self.again = action

    async def newest(self) -> int:
        """See Everyone."""
        if self.away:
            raise PyMongoError("away")
        return self.number

    async def reconnect(self) -> None:
        """What follows when the bus is back."""
        assert self.again is not None
        await self.again()
        await turns()

    async def subscribe(self, _subject: str, cb: Callable[[Msg], Any]) -> None:
        """Notes it."""
        self.hear = cb

    async def tell(self, event: events_pb2.LiveEvent | bytes) -> None:
        """One message, heard to its end."""
        data = event if isinstance(event, bytes) else event.SerializeToString()
        assert self.hear is not None
        await self.hear(Msg(cast(Any, None), data=data))


class Wishes:
    """Choices; away where it says so."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.away = 0
        self.asked: list[list[str]] = []

    async def choices(self, user_ids: Collection[str]) -> dict[str, Any]:
        """See Preferences."""
        self.asked.append(list(user_ids))
        if self.away:
            self.away -= 1
            raise PyMongoError("away")
        return {name: self.found[name] for name in user_ids if name in self.found}


@pytest.fixture
def wishes() -> Wishes:
    return Wishes()


@pytest.fixture
def changed() -> list[str]:
    return []


@pytest.fixture
async def bus(
    hub: Hub, wishes: Wishes, changed: list[str], spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> Bus:
    monkeypatch.setattr(everyone, "COUNT_DELAY_S", 0)
    monkeypatch.setattr(everyone, "_RETRY_S", 0)
    made = Bus()
    whole = Everyone(cast(Any, made), hub, cast(Any, wishes), made.newest, changed.append, KEY, spawn)
    await whole.start()
    return made


def announcement(category: Category.Type.ValueType = Category.SYSTEM) -> events_pb2.LiveEvent:
    data = NotificationData(title="Hi").SerializeToString()
    content = events_pb2.NotificationContent(data=data).SerializeToString()
    return events_pb2.LiveEvent(
        event="notification", notification_id="n1", category=category, content=vault.seal(KEY, content)
    )


async def turns() -> None:
    """Whatever can go on without waiting does."""
    for _ in range(20):
        await asyncio.sleep(0)


async def ids(client: Connection) -> list[str]:
    """The notifications that a client got."""
    return [frame[4]["notification_id"] for frame in await client.heard() if frame[3] == "notification"]


@pytest.fixture
async def two(connect: Callable[..., Connection]) -> list[Connection]:
    """Ann and Bob, each on their topic."""
    clients = [connect(name, "user", name) for name in ("ann", "bob")]
    for client, name in zip(clients, ("ann", "bob"), strict=True):
        await client.ask("1", "1", f"user:{name}", "phx_join", {})
    return clients


async def test_who_wants_none_gets_none(two: list[Connection], bus: Bus, wishes: Wishes) -> None:
    wishes.found["bob"] = Choices({"system": {"real_time": False}})
    await bus.tell(announcement())
    assert [await ids(client) for client in two] == [["n1"], []]
    await bus.tell(announcement(Category.SECURITY))
    assert [await ids(client) for client in two] == [["n1"], ["n1"]]


async def test_nobody_gets_what_they_may_have_turned_off(
    two: list[Connection], bus: Bus, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes.away = 2
    await bus.tell(announcement())
    assert [await ids(client) for client in two] == [["n1"], ["n1"]]
    wishes.away = everyone._TRIES
    await bus.tell(announcement())
    assert [await ids(client) for client in two] == [[], []]


async def test_choices_are_read_in_parts(
    two: list[Connection], bus: Bus, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everyone, "_ASKED_AT_ONCE", 1)
    await bus.tell(announcement())
    assert [await ids(client) for client in two] == [["n1"], ["n1"]]
    assert wishes.asked == [["ann"], ["bob"]]


async def test_counts_follow_in_parts(
    two: list[Connection], bus: Bus, changed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everyone, "_COUNTED_AT_ONCE", 1)
    monkeypatch.setattr(everyone, "_COUNT_PAUSE_S", 3_600)
    await bus.tell(events_pb2.LiveEvent(event="inbox"))
    await turns()
    assert changed == ["user:ann"]
    monkeypatch.setattr(everyone, "_COUNT_PAUSE_S", 0)
    await bus.tell(events_pb2.LiveEvent(event="inbox"))
    await turns()
    assert changed[1:] == ["user:ann", "user:bob"]
    assert [await ids(client) for client in two] == [[], []]


async def test_after_the_bus_was_away_counts_follow_what_was_missed(
    two: list[Connection], bus: Bus, changed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everyone, "_COUNT_PAUSE_S", 0)
    await turns()
    await bus.reconnect()
    assert changed == []
    bus.number = 7
    await bus.tell(events_pb2.LiveEvent(event="inbox"))
    await turns()
    changed.clear()
    await bus.reconnect()
    assert changed == []
    bus.number, bus.away = 8, True
    await bus.reconnect()
    assert changed == []
    bus.away = False
    await bus.reconnect()
    assert changed == ["user:ann", "user:bob"]


async def test_what_nobody_can_read_is_passed_over(
    two: list[Connection], bus: Bus, changed: list[str]
) -> None:
    foreign = announcement()
    foreign.content.wrapped_key = b"?"
    for broken in (b"\xff", foreign):
        await bus.tell(broken)
    await bus.tell(announcement())
    assert [await ids(client) for client in two] == [["n1"], ["n1"]]
