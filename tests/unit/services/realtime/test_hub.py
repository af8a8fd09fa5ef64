"""Topics: who gets what, how often it is encoded, and that nobody is left with a hole they do not know of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from nats.aio.msg import Msg

from crown.errors import BusUnavailable, NotReady
from crown.live_position import Position
from crown.notification.v1 import events_pb2
from services.realtime import address
from services.realtime.hub import Joined
from services.realtime.live import Live, Removed, Resync, Stale, ephemeral_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from crown import vault
    from services.realtime.hub import Hub
    from services.realtime.live import Event, Notice
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

    def __init__(self, encoding: Counting, name: str = "") -> None:
        self.encoding = encoding
        self.id = name
        self.writes: list[list[Event]] = []

    def deliver(self, events: list[Event]) -> None:
        """One write."""
        self.writes.append(events)

    @property
    def offsets(self) -> list[int | str]:
        """What came: offsets, and other events by name."""
        events = [event for write in self.writes for event in write]
        return [event.position.offset if isinstance(event, Live) else event.event for event in events]


def at(offset: int, epoch: str = "e1") -> Joined:
    """A join that recovered nothing."""
    return Joined(Position(offset, epoch))


def offsets(joined: Joined) -> list[int]:
    """Of what was missed."""
    return [event.position.offset for event in joined.missed]


@pytest.fixture
def encoding() -> Counting:
    """Shared by the readers."""
    return Counting()


async def turn() -> None:
    """Lets the loop come round."""
    for _ in range(12):
        await asyncio.sleep(0)


def _core(body: bytes) -> Msg:
    """A message that no stream has."""
    return Msg(cast(Any, None), data=body)


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
    feed.store(TOPIC, sealed(), 4)
    assert await hub.join(ANN, first) == at(4)
    feed.publish(TOPIC, sealed())
    # Not yet delivered to the first when the second comes.
    assert await hub.join(ANN, second) == at(5)
    feed.publish(TOPIC, sealed())
    await turn()
    assert first.offsets == [5, 6]
    assert second.offsets == [6]


async def test_what_comes_before_the_answer_about_the_last_one_counts(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    feed.gate = asyncio.Event()
    feed.store(TOPIC, sealed(), 4)
    joining = asyncio.ensure_future(hub.join(ANN, Reader(encoding)))
    await turn()
    feed.arrives(TOPIC, 5, 4, sealed())
    await turn()
    feed.gate.set()
    assert await joining == at(5)


async def test_a_repetition_is_not_delivered(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader = Reader(encoding)
    feed.store(TOPIC, sealed(), 4)
    await hub.join(ANN, reader)
    feed.arrives(TOPIC, 4, 3, sealed())
    feed.arrives(TOPIC, 6, 4, sealed())
    feed.arrives(TOPIC, 6, 4, sealed())
    await turn()
    assert reader.offsets == [6]


async def test_names_of_one_topic_are_told_apart(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader = Reader(encoding)
    await hub.join(ANN, reader)
    await hub.join(ANN, reader, name="realtime:user:ann")
    feed.publish(TOPIC, sealed())
    await turn()
    assert reader.offsets == [1, 1]
    hub.leave(TOPIC, reader, "realtime:user:ann")
    feed.publish(TOPIC, sealed())
    await turn()
    assert reader.offsets == [1, 1, 2]


# -- what was missed


async def test_who_comes_back_gets_what_was_missed_and_then_what_comes(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader = Reader(encoding)
    for number in range(5):
        feed.store(TOPIC, sealed(number))
        feed.store("user:bob", sealed())
    joined = await hub.join(ANN, reader, Position(3, "e1"))
    assert joined.recovered
    assert joined.position == Position(3, "e1")
    assert offsets(joined) == [5, 7, 9]
    feed.publish(TOPIC, sealed())
    await turn()
    assert reader.offsets == [11]


async def test_who_missed_nothing_is_told_where_the_topic_stands_now(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    feed.store(TOPIC, sealed())
    feed.store("user:bob", sealed(), 90)
    feed.floor = 90
    joined = await hub.join(ANN, Reader(encoding), Position(1, "e1"))
    assert joined == Joined(Position(90, "e1"), recovered=True)


async def test_what_is_being_delivered_while_somebody_comes_back_is_not_lost(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    other, reader = Reader(encoding), Reader(encoding)
    feed.store(TOPIC, sealed())
    await hub.join(ANN, other)
    feed.publish(TOPIC, sealed())
    feed.gate = asyncio.Event()
    joining = asyncio.ensure_future(hub.join(ANN, reader, Position(1, "e1")))
    await turn()
    feed.publish(TOPIC, sealed())
    await turn()
    feed.publish(TOPIC, sealed())
    feed.gate.set()
    joined = await joining
    assert joined.recovered
    feed.publish(TOPIC, sealed())
    await turn()
    assert offsets(joined) + reader.offsets == [2, 3, 4, 5]
    assert other.offsets == [2, 3, 4, 5]


async def test_what_the_stream_has_and_did_not_bring_yet_comes_once(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    other, reader = Reader(encoding), Reader(encoding)
    feed.store(TOPIC, sealed())
    await hub.join(ANN, other)
    feed.publish(TOPIC, sealed())
    stored = feed.store(TOPIC, sealed())
    joined = await hub.join(ANN, reader, Position(1, "e1"))
    feed.arrives(TOPIC, *stored, sealed())
    await turn()
    assert offsets(joined) + reader.offsets == [2, 3]


@pytest.mark.parametrize(
    "since",
    [
        pytest.param(Position(1, "e0"), id="another epoch"),
        pytest.param(Position(1, ""), id="no epoch"),
        pytest.param(Position(500, "e1"), id="made up"),
        pytest.param(Position(99, "e1"), id="dropped by age"),
    ],
)
async def test_where_it_cannot_be_whole_nothing_is_recovered(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed, since: Position
) -> None:
    for number in range(90, 200):
        feed.store(TOPIC if number % 10 == 0 else "user:bob", sealed(), number)
    feed.drop_before(150)
    reader = Reader(encoding)
    assert await hub.join(ANN, reader, since) == at(190)
    feed.publish(TOPIC, sealed())
    await turn()
    assert reader.offsets == [200]


async def test_what_the_limit_of_a_topic_dropped_is_noticed(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    feed.store("user:bob", sealed())
    for _ in range(feed.each_most + 1):
        feed.store(TOPIC, sealed())
    # Nothing was dropped from the front of the stream, but event 2 is gone.
    assert not (await hub.join(ANN, Reader(encoding), Position(1, "e1"))).recovered
    found = await hub.join(ANN, Reader(encoding), Position(3, "e1"))
    assert found.recovered
    assert len(found.missed) == feed.each_most - 1


async def test_a_position_that_the_inbox_told_is_as_good(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader = Reader(encoding)
    feed.store(TOPIC, sealed())
    await hub.join(ANN, Reader(encoding))
    feed.store("user:bob", sealed(), 40)
    joined = await hub.join(ANN, reader, Position(40, "e1"))
    assert joined == Joined(Position(40, "e1"), recovered=True)
    feed.publish(TOPIC, sealed())
    await turn()
    assert reader.offsets == [41]


# -- gaps


@pytest.mark.parametrize("lost", [1, 5])
async def test_a_gap_is_filled_from_the_stream(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed, lost: int
) -> None:
    reader = Reader(encoding)
    await hub.join(ANN, reader)
    feed.publish(TOPIC, sealed())
    for _ in range(lost):
        feed.store(TOPIC, sealed())
    feed.gate = asyncio.Event()
    for _ in range(3):
        feed.publish(TOPIC, sealed())
    await turn()
    feed.gate.set()
    await turn()
    feed.publish(TOPIC, sealed())
    await turn()
    assert reader.offsets == list(range(1, lost + 6))


async def test_a_gap_that_cannot_be_filled_is_told_before_what_comes_after_it(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader = Reader(encoding)
    notices: list[Notice] = []
    feed.store(TOPIC, sealed(), 4)
    await hub.join(ANN, reader, notice=notices.append)
    feed.store(TOPIC, sealed(), 9)
    feed.drop_before(9)
    feed.arrives(TOPIC, 10, 9, sealed())
    await turn()
    assert reader.offsets == ["resync", 10]
    (resync,) = reader.writes[0][:1]
    assert isinstance(resync, Resync)
    assert resync.payload == {"recovered": False, "offset": 9, "epoch": "e1"}
    assert notices == [resync]


async def test_a_topic_that_the_stream_forgot_is_no_hole_where_nothing_was_kept(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    """The position of a topic without events is the stream's; its first event has none before it."""
    reader = Reader(encoding)
    feed.floor = feed.top = 70
    feed.first = 60
    assert await hub.join(ANN, reader) == at(70)
    feed.publish(TOPIC, sealed())
    await turn()
    assert reader.offsets == [71]


async def test_an_event_that_no_other_follows_is_missed_all_the_same(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.realtime.hub._IN_FLIGHT_S", 0.0)
    reader = Reader(encoding)
    await hub.join(ANN, reader)
    feed.store(TOPIC, sealed())
    await hub.compare()
    await turn()
    assert reader.offsets == [1]
    # Nothing came since: nobody is asked again.
    asked = feed.asked
    await hub.compare()
    assert feed.asked == asked


async def test_comparing_moves_topics_that_are_quiet_to_the_present(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    await hub.join(ANN, Reader(encoding))
    feed.store("user:bob", sealed(), 30)
    await hub.compare()
    assert await hub.join(ANN, Reader(encoding)) == at(30)


async def test_a_bus_that_was_away_in_the_same_epoch_leaves_no_hole(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.realtime.hub._IN_FLIGHT_S", 0.0)
    reader = Reader(encoding)
    await hub.join(ANN, reader)
    feed.current = False
    feed.publish(TOPIC, sealed())
    feed.publish(TOPIC, sealed())
    feed.current = True
    hub.reconnected(same_epoch=True)
    await turn()
    await turn()
    assert reader.offsets == [1, 2]


async def test_another_epoch_is_told_to_everybody(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    reader, later = Reader(encoding), Reader(encoding)
    feed.store(TOPIC, sealed(), 50)
    await hub.join(ANN, reader)
    feed.epoch = "e2"
    feed.stored.clear()
    feed.top = feed.floor = 0
    feed.store(TOPIC, sealed(), 3)
    hub.reconnected(same_epoch=False)
    await turn()
    assert await hub.join(ANN, later, Position(50, "e1")) == at(3, "e2")
    feed.publish(TOPIC, sealed())
    await turn()
    assert reader.offsets == ["resync", 4]
    assert later.offsets == [4]
    assert reader.writes[0][0].payload == {"recovered": False, "offset": 0, "epoch": "e2"}


# -- what nobody keeps


async def test_an_ephemeral_event_reaches_all_but_its_origin(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed
) -> None:
    sender, reader = Reader(encoding, "s1"), Reader(encoding, "s2")
    for one in (sender, reader):
        await hub.join(ANN, one)
    await hub.publish_ephemeral(TOPIC, "wave", {"to": "all"}, "s1")
    feed.publish(TOPIC, sealed())
    await turn()
    assert sender.offsets == [1]
    assert reader.offsets == ["wave", 1]


async def test_an_inbox_that_changed_is_not_for_the_wire(
    hub: Hub, feed: FakeFeed, encoding: Counting, sealed: Sealed, data_key: vault.Key
) -> None:
    reader = Reader(encoding)
    changed: list[str] = []
    hub.on_inbox_change(changed.append)
    await hub.join(ANN, reader)
    feed.opened[TOPIC](_core(ephemeral_body(data_key, "inbox", {})))
    await turn()
    assert (reader.offsets, changed) == ([], [TOPIC])
    feed.publish(TOPIC, sealed())
    assert changed == [TOPIC, TOPIC]


async def test_who_has_to_go_is_told_to_those_who_asked(hub: Hub, feed: FakeFeed, encoding: Counting) -> None:
    notices: list[Notice] = []
    await hub.join(ANN, Reader(encoding), notice=notices.append)
    body = events_pb2.EphemeralEvent(removed=["bob"]).SerializeToString()
    feed.opened[TOPIC](_core(body))
    assert notices == [Removed(frozenset({"bob"}), closed=False)]


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
    assert await hub.join(ANN, Reader(encoding)) == at(0)


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


async def test_who_keeps_count_of_presence_hears_it_first(
    hub: Hub, feed: FakeFeed, encoding: Counting, data_key: vault.Key
) -> None:
    reader = Reader(encoding)
    heard: list[tuple[str, str, bytes, int]] = []
    hub.on_presence(
        lambda topic, event, payload: heard.append((topic, event, bytes(payload), len(reader.writes)))
    )
    await hub.join(ANN, reader)
    feed.opened[TOPIC](_core(ephemeral_body(data_key, "presence_diff", {"joins": {}})))
    feed.opened[TOPIC](_core(ephemeral_body(data_key, "typing", {})))
    await turn()
    assert heard == [(TOPIC, "presence_diff", b'{"joins":{}}', 0)]
    assert len(reader.writes) == 1


async def test_after_the_bus_was_away_who_is_here_is_told_anew(hub: Hub, encoding: Counting) -> None:
    """What has no number may be lost, in the same epoch too."""
    notices: list[Notice] = []
    await hub.join(ANN, Reader(encoding), notice=notices.append)
    hub.reconnected(same_epoch=True)
    assert notices == [Stale()]
    hub.stale("user:nobody")
    hub.stale(TOPIC)
    assert notices == [Stale(), Stale()]
