"""Topics: who gets what, how often it is encoded, and that nobody is left with a hole they do not know of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from crown.errors import BusUnavailable, NotReady
from services.realtime import address
from services.realtime.live import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.realtime.hub import Hub
    from services.realtime.live import Event
    from tests.unit.services.realtime.conftest import FakeFeed

    Sealed = Callable[..., bytes]

ANN = address.user("ann")
TOPIC = ANN.topic


class Counting:
    """An encoding that counts."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, topic: str, event: Event) -> list[Any]:
        """The events themselves."""
        self.encoded += 1
        return [event]

    def together(self, parts: list[list[Any]]) -> list[Any]:
        """All of them."""
        return [event for part in parts for event in part]


class Reader:
    """A subscriber that keeps what each write had in it."""

    def __init__(self, encoding: Counting) -> None:
        self.encoding = encoding
        self.writes: list[list[Event]] = []

    def deliver(self, events: list[Event]) -> None:
        """One write."""
        self.writes.append(events)

    @property
    def offsets(self) -> list[int | str]:
        """What came: offsets, and other events by name."""
        events = [event for write in self.writes for event in write]
        return [getattr(event, "position", Position(0, "")).offset or event.event for event in events]


@pytest.fixture
def encoding() -> Counting:
    """Shared by the readers."""
    return Counting()


async def turn() -> None:
    """Lets the loop come round."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_many_who_take_one_form_share_what_was_encoded(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    readers = [Reader(encoding) for _ in range(100)]
    for reader in readers:
        await hub.join(ANN, reader)
    assert feed.asked == 1
    feed.arrives(TOPIC, 5, 0, sealed())
    await turn()
    assert encoding.encoded == 1
    assert all(reader.offsets == [5] for reader in readers)
    assert all(reader.writes[0] is readers[0].writes[0] for reader in readers)


async def test_what_arrives_together_goes_out_in_one_write(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader = Reader(encoding)
    await hub.join(ANN, reader)
    for offset in (1, 2, 3):
        feed.arrives(TOPIC, offset, offset - 1, sealed())
    await turn()
    assert len(reader.writes) == 1
    assert reader.offsets == [1, 2, 3]


async def test_who_joins_gets_what_comes_after_the_answer_and_nothing_else(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    first, second = Reader(encoding), Reader(encoding)
    feed.last[TOPIC] = 4
    assert await hub.join(ANN, first) == Position(4, "e1")
    feed.arrives(TOPIC, 5, 4, sealed())
    # Not yet delivered to the first when the second comes.
    assert await hub.join(ANN, second) == Position(5, "e1")
    feed.arrives(TOPIC, 6, 5, sealed())
    await turn()
    assert first.offsets == [5, 6]
    assert second.offsets == [6]


async def test_what_comes_before_the_answer_about_the_last_one_counts(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    feed.gate = asyncio.Event()
    feed.last[TOPIC] = 4
    joining = asyncio.ensure_future(hub.join(ANN, Reader(encoding)))
    await turn()
    feed.arrives(TOPIC, 5, 4, sealed())
    feed.gate.set()
    assert await joining == Position(5, "e1")


async def test_a_repetition_is_not_delivered(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader = Reader(encoding)
    feed.last[TOPIC] = 4
    await hub.join(ANN, reader)
    feed.arrives(TOPIC, 4, 3, sealed())
    feed.arrives(TOPIC, 6, 4, sealed())
    feed.arrives(TOPIC, 6, 4, sealed())
    await turn()
    assert reader.offsets == [6]


@pytest.mark.parametrize("before", [0, 5])
async def test_a_hole_is_told_before_what_comes_after_it(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed, before: int
) -> None:
    reader = Reader(encoding)
    feed.last[TOPIC] = 4
    await hub.join(ANN, reader)
    feed.arrives(TOPIC, 9, before, sealed())
    feed.arrives(TOPIC, 10, 9, sealed())
    await turn()
    assert reader.offsets == ["resync", 9, 10]


async def test_resync_reaches_everybody_and_forgets_where_topics_stood(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader, later = Reader(encoding), Reader(encoding)
    feed.last[TOPIC] = 50
    await hub.join(ANN, reader)
    feed.epoch, feed.last[TOPIC] = "e2", 3
    hub.resync()
    await turn()
    assert await hub.join(ANN, later) == Position(3, "e2")
    feed.arrives(TOPIC, 4, 3, sealed())
    await turn()
    assert reader.offsets == ["resync", 4]
    assert later.offsets == [4]
    assert reader.writes[0][0].payload == {"recovered": False, "epoch": "e2"}


async def test_what_belongs_to_no_epoch_is_thrown_away(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader = Reader(encoding)
    await hub.join(ANN, reader)
    feed.current = False
    feed.arrives(TOPIC, 1, 0, sealed())
    await turn()
    assert reader.writes == []
    with pytest.raises(BusUnavailable):
        await hub.join(ANN, Reader(encoding))


@pytest.mark.parametrize("body", [b"\xff\xff", b"", b"\x0a\x03ann"])
async def test_what_cannot_be_read_does_no_harm(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed, body: bytes
) -> None:
    reader = Reader(encoding)
    await hub.join(ANN, reader)
    feed.arrives(TOPIC, 1, 0, body)
    feed.arrives(TOPIC, 2, 1, sealed())
    await turn()
    assert reader.offsets == [2]


async def test_the_last_who_leaves_closes_the_topic(hub: Hub, feed: FakeFeed, encoding: Counting) -> None:
    first, second = Reader(encoding), Reader(encoding)
    await hub.join(ANN, first)
    await hub.join(ANN, second)
    hub.leave(TOPIC, first)
    hub.leave(TOPIC, first)
    assert feed.closed == []
    hub.leave(TOPIC, second)
    assert feed.closed == [TOPIC]
    await hub.join(ANN, first)
    assert feed.asked == 2


async def test_a_join_that_fails_leaves_nothing_behind(hub: Hub, feed: FakeFeed, encoding: Counting) -> None:
    feed.refusing = True
    with pytest.raises(BusUnavailable):
        await hub.join(ANN, Reader(encoding))
    feed.refusing = False
    assert await hub.join(ANN, Reader(encoding)) == Position(0, "e1")


async def test_a_join_that_is_given_up_does_not_spoil_another(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    feed.gate = asyncio.Event()
    given_up = asyncio.ensure_future(hub.join(ANN, Reader(encoding)))
    reader = Reader(encoding)
    other = asyncio.ensure_future(hub.join(ANN, reader))
    await turn()
    given_up.cancel()
    await turn()
    feed.gate.set()
    await other
    feed.arrives(TOPIC, 1, 0, sealed())
    await turn()
    assert reader.offsets == [1]
    hub.leave(TOPIC, reader)
    assert feed.closed == [TOPIC]


async def test_a_hub_that_drains_lets_nobody_in(hub: Hub, encoding: Counting) -> None:
    hub.drain()
    with pytest.raises(NotReady):
        await hub.join(ANN, Reader(encoding))
