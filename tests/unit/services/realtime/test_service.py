"""RealtimeService through a real server: what each stream begins with, goes on with and ends with, and what programs
may publish."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from crown import subjects, vault
from crown.bus import Outgoing, PubAck
from crown.errors import BusUnavailable, CrownError, NotReady
from crown.live_position import Position
from crown.notification.v1 import events_pb2
from crown.notification.v1 import realtime_service_pb2 as pb
from crown.notification.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from crown.presence import Crowd, Seen
from services.realtime.hub import Joined
from services.realtime.live import Event, Resync, read
from services.realtime.service import RealtimeService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

SERVICE = pb.DESCRIPTOR.services_by_name["RealtimeService"]
ANN = (("authorization", "Bearer user:ann"),)
FEED = (("authorization", "Bearer feed"),)
ACTIVE = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
SINCE = Position(3, "e1")


@dataclass
class FakeHub:
    """Topics in memory. `answer` is what every join is told."""

    answer: Joined | CrownError = field(default_factory=lambda: Joined(Position(5, "e1")))
    asked: list[tuple[str, Position | None]] = field(default_factory=list)
    on: dict[str, Any] = field(default_factory=dict)
    ephemeral: list[tuple[str, str, Any]] = field(default_factory=list)

    async def join(self, address: Any, subscriber: Any, since: Position | None = None) -> Joined:
        """See Hub."""
        self.asked.append((address.topic, since))
        if isinstance(self.answer, CrownError):
            raise self.answer
        self.on[address.topic] = subscriber
        return self.answer

    def leave(self, topic: str, subscriber: Any) -> None:
        """See Hub."""
        if self.on.get(topic) is subscriber:
            del self.on[topic]

    async def publish_ephemeral(self, topic: str, event: str, payload: Any, origin: str = "") -> None:
        """See Hub."""
        self.ephemeral.append((topic, event, payload))

    def arrive(self, *events: Event) -> None:
        """Live events for ann."""
        subscriber = self.on["user:ann"]
        parts = [subscriber.encoding.encode("user:ann", event) for event in events]
        subscriber.deliver(subscriber.encoding.together(parts))


@dataclass
class FakeBus:
    """Keeps what is published."""

    published: list[Outgoing] = field(default_factory=list)

    async def publish(self, message: Outgoing) -> PubAck:
        """See Bus."""
        self.published.append(message)
        return PubAck(seq=41 + len(self.published))


class FakeWhereabouts:
    """Ann has two sockets, one of them in the lobby; the hall is crowded."""

    async def of_people(self, user_ids: Collection[str]) -> dict[str, Seen]:
        """See Whereabouts."""
        return {user_id: Seen(2 if user_id == "ann" else 0, ACTIVE) for user_id in user_ids}

    async def of_topic(self, topic: str) -> Crowd:
        """See Whereabouts."""
        match topic:
            case "chat:lobby":
                return Crowd({"bob": Seen(3, ACTIVE), "ann": Seen(1, None)}, 2)
            case "chat:hall":
                return Crowd({"ann": Seen(1, None)}, 900)
            case _:
                raise NotReady("presence is away; try again")


@dataclass
class Served:
    """The service, its surroundings, and a client."""

    hub: FakeHub
    bus: FakeBus
    service: RealtimeService
    stub: Any


@pytest.fixture
async def served(serve: Callable[..., Any], data_key: vault.Key) -> AsyncIterator[Served]:
    hub, bus = FakeHub(), FakeBus()
    service = RealtimeService(hub, bus, data_key, FakeWhereabouts(), beat_s=0.05)  # type: ignore[arg-type]
    async with serve(SERVICE, service) as channel:
        yield Served(hub, bus, service, RealtimeServiceStub(channel))


@pytest.fixture
def live(data_key: vault.Key, sealed: Callable[..., bytes]) -> Callable[[int], Event]:
    """The notification at an offset."""
    return lambda offset: read(data_key, sealed(offset), Position(offset, "e1"))


# -- Subscribe


async def test_a_stream_without_a_place_begins_with_what_is_new(
    served: Served, live: Callable[[int], Event]
) -> None:
    call = served.stub.Subscribe(pb.SubscribeRequest(user_id="ann"), metadata=ANN)
    await call.initial_metadata()
    served.hub.arrive(live(6))
    first = await call.read()
    assert (first.event, first.offset, first.notification.notification_id) == ("notification", 6, "n6")
    assert served.hub.asked == [("user:ann", None)]


@pytest.mark.parametrize("recovered", [True, False])
async def test_one_with_a_place_is_told_whether_all_follows(
    served: Served, live: Callable[[int], Event], recovered: bool
) -> None:
    missed = [live(4), live(5)] if recovered else []
    served.hub.answer = Joined(SINCE if recovered else Position(5, "e1"), recovered, missed)  # type: ignore[arg-type]
    call = served.stub.Subscribe(pb.SubscribeRequest(user_id="ann", since=3, epoch="e1"), metadata=ANN)
    await call.initial_metadata()
    served.hub.arrive(live(6))
    got = [await call.read() for _ in range(len(missed) + 2)]
    assert served.hub.asked == [("user:ann", SINCE)]
    assert (got[0].event, got[0].recovered, got[0].epoch) == ("joined", recovered, "e1")
    assert [one.offset for one in got] == ([3, 4, 5, 6] if recovered else [5, 6])


async def test_a_caller_who_leaves_is_forgotten(served: Served) -> None:
    call = served.stub.Subscribe(pb.SubscribeRequest(user_id="ann"), metadata=ANN)
    await call.initial_metadata()
    call.cancel()
    page = served.stub.Stream(pb.StreamRequest(user_id="ann"), metadata=ANN)
    assert len([text async for text in frames(page, 2)]) == 2
    page.cancel()
    while served.hub.on or served.service.streams._open:  # noqa: ASYNC110 -- the server's own time
        await asyncio.sleep(0.001)


# -- Stream


async def frames(call: Any, count: int, *, beats: bool = False) -> AsyncIterator[str]:
    """What a page of events says, beats passed over."""
    while count:
        body = await call.read()
        if body == grpc.aio.EOF:
            return
        assert body.content_type == "text/event-stream"
        for text in body.data.decode().removesuffix("\n\n").split("\n\n"):
            if beats or text != ": beat":
                count -= 1
                yield text


async def test_a_page_begins_with_where_it_stands(served: Served, live: Callable[[int], Event]) -> None:
    missed = [live(4), live(5)]
    served.hub.answer = Joined(SINCE, recovered=True, missed=missed)  # type: ignore[arg-type]
    metadata = (*ANN, ("last-event-id", "e1.3"))
    call = served.stub.Stream(pb.StreamRequest(user_id="ann", last_event_id="e9.9"), metadata=metadata)
    retry, joined, fourth, fifth = [text async for text in frames(call, 4)]
    assert retry == "retry: 1000"
    # Cut off here, the browser comes back with the same place.
    assert joined == 'id: e1.3\nevent: joined\ndata: {"recovered":true,"offset":3,"epoch":"e1"}'
    assert [text.split("\n")[0] for text in (fourth, fifth)] == ["id: e1.4", "id: e1.5"]
    assert served.hub.asked == [("user:ann", SINCE)]
    assert dict(await call.initial_metadata())["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("given", "asked"), [("e1.3", SINCE), ("", None), ("nonsense", None), ("e1.x", None)]
)
async def test_a_place_may_stand_in_the_request_and_a_broken_one_is_none(
    served: Served, given: str, asked: Position | None
) -> None:
    call = served.stub.Stream(pb.StreamRequest(user_id="ann", last_event_id=given), metadata=ANN)
    _, joined = [text async for text in frames(call, 2)]
    assert '"recovered":false' in joined
    assert served.hub.asked == [("user:ann", asked)]


async def test_a_quiet_page_beats(served: Served) -> None:
    call = served.stub.Stream(pb.StreamRequest(user_id="ann"), metadata=ANN)
    assert [text async for text in frames(call, 4, beats=True)][2:] == [": beat", ": beat"]


def failure(text: str) -> tuple[str, str]:
    """The reason and the message of the event that a page ends with."""
    name, data = text.split("\n")
    assert name == "event: error"
    error = json.loads(data.removeprefix("data: "))
    return error["details"][0]["reason"], error["message"]


async def test_a_page_that_ends_says_why(served: Served) -> None:
    call = served.stub.Stream(pb.StreamRequest(user_id="ann"), metadata=ANN)
    assert len([text async for text in frames(call, 2)]) == 2
    served.service.drain()
    (last,) = [text async for text in frames(call, 5)]
    assert failure(last) == ("NOT_READY", "this node is going down; subscribe again")
    assert await call.code() == grpc.StatusCode.OK


async def test_a_hole_ends_a_page(served: Served) -> None:
    call = served.stub.Stream(pb.StreamRequest(user_id="ann"), metadata=ANN)
    assert len([text async for text in frames(call, 2)]) == 2
    served.hub.arrive(Resync(Position(9, "e2")))
    (last,) = [text async for text in frames(call, 5)]
    assert failure(last)[0] == "BUS_UNAVAILABLE"


async def test_a_page_that_cannot_begin_is_an_event_too(served: Served) -> None:
    """After an answer that is an error an EventSource would never come back."""
    served.hub.answer = BusUnavailable("the bus is away; try again")
    call = served.stub.Stream(pb.StreamRequest(user_id="ann"), metadata=ANN)
    _, last = [text async for text in frames(call, 5)]
    assert failure(last) == ("BUS_UNAVAILABLE", "the bus is away; try again")


@pytest.mark.parametrize("name", ["Subscribe", "Stream"])
async def test_a_stream_ends_with_its_token(
    served: Served, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crown.auth.LEEWAY_S", -59.9)  # the token is good for a minute
    request = pb.SubscribeRequest(user_id="ann") if name == "Subscribe" else pb.StreamRequest(user_id="ann")
    call = getattr(served.stub, name)(request, metadata=ANN)
    if name == "Subscribe":
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() == grpc.StatusCode.UNAUTHENTICATED
        return
    *_, last = [text async for text in frames(call, 5)]
    assert failure(last) == ("TOKEN_INVALID", "the token has expired")


async def test_a_node_that_goes_down_during_a_join_ends_what_it_began(served: Served) -> None:
    served.service.drain()
    call = served.stub.Subscribe(pb.SubscribeRequest(user_id="ann"), metadata=ANN)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call.read()
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE


# -- Publish


def struct(**values: Any) -> Struct:
    """A free-form object."""
    found = Struct()
    found.update(values)
    return found


@pytest.mark.parametrize(
    ("where", "topic", "user_id"),
    [
        ({"user_id": "ann"}, "user:ann", "ann"),
        ({"topic": "user:ann"}, "user:ann", "ann"),
        ({"topic": "chat:a:b"}, "chat:a:b", ""),
    ],
)
async def test_what_is_published_is_numbered(
    served: Served, data_key: vault.Key, where: dict[str, Any], topic: str, user_id: str
) -> None:
    request = pb.PublishRequest(event="hello", payload=struct(a=1), **where)
    assert (await served.stub.Publish(request, metadata=FEED)).offset == 42
    (message,) = served.bus.published
    assert message.subject == subjects.live_source(topic)
    event = events_pb2.LiveEvent.FromString(message.data)
    assert (event.user_id, event.event) == (user_id, "hello")
    assert vault.unseal(data_key, event.content) == b'{"a":1}'
    assert served.hub.ephemeral == []


async def test_what_is_for_this_moment_is_not(served: Served) -> None:
    request = pb.PublishRequest(topic="chat:c", event="hello", payload=struct(offset=1), ephemeral=True)
    assert (await served.stub.Publish(request, metadata=FEED)).offset == 0
    assert served.hub.ephemeral == [("chat:c", "hello", {"offset": 1})]
    assert served.bus.published == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"payload": struct(offset=1, epoch="e", deep={"offset": 1})}, "payload.offset"),
        ({"payload": struct(text="x" * (16 << 10))}, "payload: must be at most 16384 bytes of JSON"),
        ({"topic": "chat:c"}, "exactly one of user_id and topic"),
        ({"event": "typing"}, "event"),
    ],
)
async def test_what_may_not_be_published_is_named(served: Served, fields: dict[str, Any], named: str) -> None:
    request = pb.PublishRequest(**{"user_id": "ann", "event": "hello", **fields})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.Publish(request, metadata=FEED)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert named in (refused.value.details() or "")
    assert not served.bus.published
    assert not served.hub.ephemeral


# -- GetPresence


async def test_people_are_told_in_order_and_counted(served: Served) -> None:
    asked = pb.GetPresenceRequest(user_ids=["bob", "ann", "bob"])
    answer = await served.stub.GetPresence(asked, metadata=FEED)
    told = [(one.user_id, one.online, one.sockets) for one in answer.people]
    assert told == [("bob", False, 0), ("ann", True, 2), ("bob", False, 0)]
    assert answer.people[0].last_active_time.ToDatetime(UTC) == ACTIVE
    assert answer.online_count == 1
    one = await served.stub.GetPresence(pb.GetPresenceRequest(user_id="ann"), metadata=ANN)
    assert one.online_count == 1


async def test_of_a_topic_those_sockets_count_that_are_on_it(served: Served) -> None:
    answer = await served.stub.GetPresence(pb.GetPresenceRequest(topic="chat:lobby"), metadata=FEED)
    told = [(one.user_id, one.online, one.sockets) for one in answer.people]
    assert told == [("bob", True, 3), ("ann", True, 1)]
    assert answer.online_count == 2
    crowd = await served.stub.GetPresence(pb.GetPresenceRequest(topic="chat:hall"), metadata=FEED)
    assert (len(crowd.people), crowd.online_count) == (1, 900)


async def test_presence_that_is_away_is_told(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.GetPresence(pb.GetPresenceRequest(topic="chat:other"), metadata=FEED)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


# -- Disconnect


async def disconnected(served: Served, **fields: Any) -> tuple[str, events_pb2.DisconnectEvent]:
    await served.stub.Disconnect(pb.DisconnectRequest(user_id="ann", **fields), metadata=FEED)
    message = served.bus.published.pop()
    return message.subject, events_pb2.DisconnectEvent.FromString(message.data)


async def test_the_nodes_are_told_whom_to_send_away(served: Served) -> None:
    subject, event = await disconnected(served)
    assert subject == subjects.revoked("ann", "")
    assert (event.user_id, event.session_id) == ("ann", "")
    assert event.HasField("revoke_time")
    subject, event = await disconnected(served, session_id="s.1")
    assert subject == subjects.revoked("ann", "s.1")
    assert event.session_id == "s.1"


async def test_tokens_that_stay_good_replace_no_revocation(served: Served) -> None:
    """Of each subject the stream keeps the last message only."""
    subject, event = await disconnected(served, keep_tokens=True)
    assert not event.HasField("revoke_time")
    assert subject not in {subjects.revoked("ann", ""), subjects.revoked("ann", "kept")}
    assert subject.startswith(subjects.REVOCATIONS.removesuffix(">"))


async def test_a_slow_reader_is_sent_away(served: Served, live: Callable[[int], Event]) -> None:
    call = served.stub.Subscribe(pb.SubscribeRequest(user_id="ann"), metadata=ANN)
    await call.initial_metadata()
    for offset in range(1, 1_100):
        served.hub.on["user:ann"].deliver(served.hub.on["user:ann"].encoding.encode("user:ann", live(offset)))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await anext(one async for one in call if one is None)
    assert ended.value.code() == NotReady.code
