"""Streams of a real node: what was missed follows, and what does not follow is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.struct_pb2 import Struct

from crown.notification.v1 import realtime_service_pb2 as pb
from stack.tokens import Use

if TYPE_CHECKING:
    from tests.integration.realtime.conftest import Node, Publisher, Trust


def bearer(trust: Trust, user: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {trust.token(user)}"),)


async def test_a_stream_goes_on_where_it_was(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    offsets = [await publisher.notify(user, f"n{number}", title="t") for number in range(3)]
    first = node.stub.Subscribe(pb.SubscribeRequest(user_id=user, epoch="?"), metadata=bearer(trust, user))
    joined: Any = await first.read()
    assert (joined.event, joined.recovered, joined.offset) == ("joined", False, offsets[-1])
    first.cancel()
    since = pb.SubscribeRequest(user_id=user, since=offsets[0], epoch=joined.epoch)
    second = node.stub.Subscribe(since, metadata=bearer(trust, user))
    joined = await second.read()
    assert (joined.event, joined.recovered, joined.offset) == ("joined", True, offsets[0])
    offsets.append(await publisher.notify(user, "n3", title="t"))
    got: list[Any] = [await second.read() for _ in range(3)]
    assert [one.notification.notification_id for one in got] == ["n1", "n2", "n3"]
    assert [one.offset for one in got] == offsets[1:]
    second.cancel()


async def test_what_is_published_for_the_moment_comes_without_a_place(
    node: Node, trust: Trust, user: str
) -> None:
    call = node.stub.Subscribe(pb.SubscribeRequest(user_id=user), metadata=bearer(trust, user))
    page = node.stub.Stream(pb.StreamRequest(user_id=user), metadata=bearer(trust, user))
    await call.initial_metadata()
    begun: list[Any] = [await page.read() for _ in "12"]
    assert b"event: joined" in begun[1].data
    payload = Struct()
    payload.update({"a": 1})
    feed = (("authorization", f"Bearer {trust.token('feed', Use.SERVICE)}"),)
    request = pb.PublishRequest(topic=f"user:{user}", event="hello", payload=payload, ephemeral=True)
    assert (await node.stub.Publish(request, metadata=feed)).offset == 0
    got: Any = await call.read()
    assert (got.event, got.offset, dict(got.payload)) == ("hello", 0, {"a": 1})
    said: Any = await page.read()
    assert said.data == b'event: hello\ndata: {"a":1}\n\n'
    call.cancel()
    page.cancel()
