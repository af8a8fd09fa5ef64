"""From the bus to whoever listens: sockets, several of them, and gRPC streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from crown.notification.v1 import realtime_service_pb2 as pb
from stack.tokens import Use

if TYPE_CHECKING:
    from tests.integration.realtime.conftest import Node, Person, Publisher, Trust

DATA = {"title": "New Message", "message": "from John", "action_url": "/messages/123"}


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """As metadata."""
    return (("authorization", f"Bearer {token}"),)


def publishing(trust: Trust) -> tuple[tuple[str, str], ...]:
    """A service that may publish."""
    return bearer(trust.token("feed", use=Use.SERVICE, scopes=["realtime.publish"]))


async def joined(person: Person, user: str) -> dict[str, Any]:
    """The answer to joining one's own topic."""
    answer = await person.join(f"user:{user}")
    assert answer["status"] == "ok", answer
    found: dict[str, Any] = answer["response"]
    return found


async def test_a_notification_arrives_as_documented(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    extra = Struct()
    extra.update({"n": 3, "list": [1.5, None, True], "deep": {"x": "y"}})
    async with node.person(trust.token(user)) as person:
        position = await joined(person, user)
        offset = await publisher.notify(user, "n-1", **DATA, extra=extra)
        assert await person.hear() == [
            None,
            None,
            f"user:{user}",
            "notification",
            {
                "notification_id": "n-1",
                "type": "REAL_TIME",
                "kind": "comment",
                "category": "SOCIAL",
                "data": {
                    **DATA,
                    "image_url": "",
                    "extra": {"n": 3, "list": [1.5, None, True], "deep": {"x": "y"}},
                },
                "create_time": "2026-11-22T10:00:00.250Z",
                "offset": offset,
                "epoch": position["epoch"],
            },
        ]


async def test_a_join_says_where_the_topic_stands(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    last = [await publisher.notify(user, f"n{number}", title="t") for number in range(3)][-1]
    async with node.person(trust.token(user)) as first, node.person(trust.token(user)) as second:
        assert (await joined(first, user))["offset"] == last
        last = await publisher.notify(user, "n3", title="t")
        assert (await first.hear())[4]["offset"] == last
        assert (await joined(second, user))["offset"] == last
        await second.silence()


async def test_every_device_gets_each_event_once_and_in_order(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    async with node.person(trust.token(user)) as first, node.person(trust.token(user)) as second:
        await joined(first, user)
        await joined(second, user)
        offsets = [await publisher.notify(user, f"n{number}", title="t") for number in range(200)]
        for person in (first, second):
            assert [(await person.hear())[4]["offset"] for _ in offsets] == offsets


async def test_nobody_gets_what_is_for_others(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    async with node.person(trust.token(user)) as person:
        await joined(person, user)
        await publisher.notify(f"{user}.x", "n", title="t")
        await publisher.notify("*", "n", title="t")
        await person.silence()


async def test_after_leaving_nothing_comes(node: Node, trust: Trust, publisher: Publisher, user: str) -> None:
    async with node.person(trust.token(user)) as person:
        await joined(person, user)
        await person.say("1", "2", f"user:{user}", "phx_leave", {})
        assert [(await person.hear())[3] for _ in "12"] == ["phx_reply", "phx_close"]
        await publisher.notify(user, "n", title="t")
        await person.silence()


async def test_what_cannot_be_read_is_passed_over(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    async with node.person(trust.token(user)) as person:
        await joined(person, user)
        await publisher.send(user, b"\xff\xff not a message")
        await publisher.send(user, b"")
        await publisher.notify(user, "n", title="after")
        # What is no event leaves a hole that nobody can fill, and no more than that.
        assert (await person.hear())[4]["notification_id"] == "n"


async def test_an_event_reaches_sockets_and_streams(node: Node, trust: Trust, user: str) -> None:
    payload = Struct()
    payload.update({"unread": 4, "names": ["a"]})
    async with node.person(trust.token(user)) as person, subscribed(node, trust, user) as call:
        position = await joined(person, user)
        request = pb.PublishRequest(user_id=user, event="score", payload=payload)
        sent = await node.stub.Publish(request, metadata=publishing(trust), timeout=5)
        assert await person.hear() == [
            None,
            None,
            f"user:{user}",
            "score",
            {"unread": 4, "names": ["a"], "offset": sent.offset, "epoch": position["epoch"]},
        ]
        seen = await call.read()
        assert (seen.event, seen.offset, seen.epoch) == ("score", sent.offset, position["epoch"])
        assert seen.payload == payload
        assert not seen.HasField("notification")


async def test_a_stream_gets_notifications(node: Node, trust: Trust, publisher: Publisher, user: str) -> None:
    async with subscribed(node, trust, user) as call:
        offset = await publisher.notify(user, "n-7", **DATA)
        seen = await call.read()
        assert (seen.offset, seen.event) == (offset, "notification")
        assert seen.notification.notification_id == "n-7"
        assert seen.notification.data.title == DATA["title"]
        assert seen.notification.create_time.ToJsonString() == "2026-11-22T10:00:00.250Z"


async def test_a_stream_of_somebody_else_is_refused(node: Node, trust: Trust, user: str) -> None:
    call = node.stub.Subscribe(pb.SubscribeRequest(user_id="victim"), metadata=bearer(trust.token(user)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_streams_that_end_leave_the_topic(node: Node, trust: Trust, user: str) -> None:
    for _ in range(20):
        async with subscribed(node, trust, user):
            pass
    async with node.person(trust.token(user)) as person:
        await joined(person, user)


@pytest.mark.parametrize(
    ("event", "payload", "field"),
    [
        ("notification", {}, "event"),
        ("phx_close", {}, "event"),
        ("No Spaces", {}, "event"),
        ("score", {"text": "x" * (16 << 10)}, "payload"),
        ("score", {"nan": float("nan")}, "payload"),
    ],
)
async def test_bad_events_are_refused(
    node: Node, trust: Trust, event: str, payload: dict[str, Any], field: str
) -> None:
    struct = Struct()
    struct.update(payload)
    request = pb.PublishRequest(user_id="ann", event=event, payload=struct)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await node.stub.Publish(request, metadata=publishing(trust), timeout=5)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in (refused.value.details() or "")


async def test_publishing_needs_the_scope(node: Node, trust: Trust, user: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await node.stub.Publish(
            pb.PublishRequest(user_id=user, event="x"), metadata=bearer(trust.token(user)), timeout=5
        )
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_frames_are_counted(node: Node, trust: Trust, publisher: Publisher, user: str) -> None:
    before = await node.metric("crown_frames_total")
    async with node.person(trust.token(user)) as person:
        await joined(person, user)
        await publisher.notify(user, "n", title="t")
        await person.hear()
        assert await node.metric("crown_frames_total") == before + 1
        assert await node.metric("crown_sockets") >= 1


class subscribed:
    """A Subscribe call that hears what is published from now on."""

    def __init__(self, node: Node, trust: Trust, user: str) -> None:
        self._call = node.stub.Subscribe(
            pb.SubscribeRequest(user_id=user), metadata=bearer(trust.token(user))
        )

    async def __aenter__(self) -> Any:
        async with asyncio.timeout(10):
            await self._call.initial_metadata()
        return self._call

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
