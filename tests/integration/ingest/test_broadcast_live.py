"""Notifications to everybody on open sockets: two nodes, people who want them and people who do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest

from crown.choices import Choices
from crown.clock import now
from crown.notification.v1 import realtime_service_pb2 as pb
from crown.notification.v1 import realtime_service_pb2_grpc as rpc
from crown.preferences import Preferences
from tests.integration.ingest.test_broadcast import broadcast
from tests.integration.local import Local
from tests.integration.realtime.conftest import Person, free_port
from tests.integration.rig import Rig, Service, until


class Node:
    """A realtime process."""

    def __init__(self, rig: Rig, service: Service, websocket_port: int, http: aiohttp.ClientSession) -> None:
        self._rig = rig
        self._port = websocket_port
        self._http = http
        self.stub = rpc.RealtimeServiceStub(service.channel)

    def bearer(self, user: str) -> tuple[tuple[str, str], ...]:
        """What a call of this person carries."""
        return (("authorization", f"Bearer {self._rig.token(user=user)}"),)

    @asynccontextmanager
    async def person(self, user: str) -> AsyncIterator[Person]:
        """A socket of this person, joined, that was told its count."""
        url = f"http://127.0.0.1:{self._port}/socket/websocket?vsn=2.0.0&token={self._rig.token(user=user)}"
        async with self._http.ws_connect(url, autoping=False) as connection:
            found = Person(connection)
            assert (await found.join(f"user:{user}"))["status"] == "ok"
            assert await counted(found) == 0
            yield found

    async def mark(self, user: str) -> None:
        """An event that comes after all that came before."""
        request = pb.PublishRequest(topic=f"user:{user}", event="mark", ephemeral=True)
        metadata = (("authorization", f"Bearer {self._rig.token(service='feed')}"),)
        await self.stub.Publish(request, metadata=metadata)


@asynccontextmanager
async def node(rig: Rig, http: aiohttp.ClientSession) -> AsyncIterator[Node]:
    port = free_port()
    ports = {"CROWN_WEBSOCKET_PORT": str(port), "CROWN_LONGPOLL_PORT": str(free_port())}
    async with rig.started(["-m", "services.realtime"], "realtime", **ports) as service:
        await service.serving()
        yield Node(rig, service, port, http)


@pytest.fixture(scope="module")
async def nodes(rig: Rig, local: Local) -> AsyncIterator[tuple[Node, Node]]:
    async with aiohttp.ClientSession() as http, node(rig, http) as first, node(rig, http) as second:
        yield first, second


@pytest.fixture(autouse=True)
async def nothing(local: Local) -> None:
    await local.db.broadcasts.delete_many({})
    await local.db.broadcast_marks.delete_many({})


async def counted(person: Person) -> int:
    """The next count that the person is told."""
    frame = await person.hear()
    while frame[3] != "unread_count":
        frame = await person.hear()
    count: int = frame[4]["unread_count"]
    return count


async def heard(person: Person) -> list[list[Any]]:
    """The frames up to the mark, but counts."""
    frames = []
    while (frame := await person.hear())[3] != "mark":
        if frame[3] != "unread_count":
            frames.append(frame)
    return frames


async def announced(person: Person, last: str) -> list[str]:
    """The notifications that the person gets, up to this one."""
    found: list[str] = []
    while last not in found:
        frame = await person.hear()
        if frame[3] == "notification":
            found.append(frame[4]["notification_id"])
    return found


async def test_everybody_gets_it_on_every_node(local: Local, nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    ann, bob, cara, dave = (local.somebody() for _ in range(4))
    async with first.person(ann) as on_first, second.person(bob) as on_second:
        call = second.stub.Subscribe(pb.SubscribeRequest(user_id=cara), metadata=second.bearer(cara))
        await call.initial_metadata()
        page = first.stub.Stream(pb.StreamRequest(user_id=dave), metadata=first.bearer(dave))
        for _ in range(2):
            await page.read()
        notification_id = await broadcast(local, kind="update", data={"title": "Hi", "message": "all"})
        for person, user in ((on_first, ann), (on_second, bob)):
            frame = await person.hear()
            assert frame[:4] == [None, None, f"user:{user}", "notification"]
            payload = frame[4]
            assert (payload["notification_id"], payload["data"]["title"]) == (notification_id, "Hi")
            assert payload["category"] == "SYSTEM"
            # It has no place to come back to.
            assert "offset" not in payload
            assert await counted(person) == 1
        told: Any = await call.read()
        assert (told.event, told.offset, told.epoch) == ("notification", 0, "")
        assert (told.notification.notification_id, told.notification.data.message) == (notification_id, "all")
        said: Any = await page.read()
        assert said.data.startswith(b'event: notification\ndata: {"notification_id":"')
        call.cancel()
        page.cancel()


async def test_who_turned_it_off_gets_no_frame(local: Local, nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    ann, bob = local.somebody(), local.somebody()
    await Preferences(local.db).replace(bob, Choices({"system": {"real_time": False}}))
    async with first.person(ann) as wants, second.person(bob) as wants_none:
        refused, secure = [await broadcast(local, category=name) for name in ("SYSTEM", "SECURITY")]
        # The second one says that the node was through with the first.
        assert await announced(wants, secure) == [refused, secure]
        assert await announced(wants_none, secure) == [secure]
        # Both stand in both inboxes.
        for person in (wants, wants_none):
            await until(partial(counted, person), lambda count: count == 2)


async def test_one_for_the_inbox_alone_is_counted(local: Local, nodes: tuple[Node, Node]) -> None:
    first, _ = nodes
    ann = local.somebody()
    async with first.person(ann) as person:
        await broadcast(local, type="IN_APP")
        assert await counted(person) == 1
        await local.db.broadcasts.update_many({}, {"$set": {"retire_time": now()}})
        await first.mark(ann)
        assert await heard(person) == []
