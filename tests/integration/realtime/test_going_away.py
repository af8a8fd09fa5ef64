"""Restarts: of the node, which says so to everybody in time, and of the bus, after which nobody is left with
a hole that they were not told of."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from crown.notification.v1 import realtime_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.integration.realtime.conftest import Nats, Node, Publisher, Trust

    Run = Callable[..., AbstractAsyncContextManager[Node]]
    PublishOn = Callable[[Nats], AbstractAsyncContextManager[Publisher]]


async def test_a_node_that_stops_closes_with_1012_and_exits_cleanly(
    nats: Nats, trust: Trust, run_node: Run, user: str
) -> None:
    async with run_node(nats) as node:
        async with node.person(trust.token(user)) as joined, node.person(trust.token(user)) as bare:
            await joined.join(f"user:{user}")
            node.process.send_signal(signal.SIGTERM)
            # The one that is on no topic too: after 1000 older clients would stay away.
            assert [await joined.closed(), await bare.closed()] == [1012, 1012]
        assert await asyncio.wait_for(node.process.wait(), 10) == 0


async def test_streams_end_as_unavailable_when_the_node_stops(
    nats: Nats, trust: Trust, run_node: Run, user: str
) -> None:
    async with run_node(nats) as node:
        metadata = (("authorization", f"Bearer {trust.token(user)}"),)
        call = node.stub.Subscribe(pb.SubscribeRequest(user_id=user), metadata=metadata)
        await call.initial_metadata()
        node.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await asyncio.wait_for(node.process.wait(), 10) == 0


async def test_a_client_that_never_answers_the_close_does_not_hold_up_the_end(
    nats: Nats, trust: Trust, run_node: Run
) -> None:
    async with run_node(nats, CROWN_GRACE_S="1") as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.websocket_port)
        writer.write(
            f"GET /socket/websocket?vsn=2.0.0&token={trust.token('ann')} HTTP/1.1\r\nHost: x\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n".encode()
        )
        assert b"101" in await reader.readline()
        node.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(node.process.wait(), 5) == 0
        writer.close()


async def test_a_restarted_bus_begins_an_epoch_and_everybody_is_told(
    own_nats: Nats, trust: Trust, run_node: Run, publish_on: PublishOn, user: str
) -> None:
    metadata = (("authorization", f"Bearer {trust.token(user)}"),)
    async with run_node(own_nats) as node, node.person(trust.token(user)) as person:
        before = (await person.join(f"user:{user}"))["response"]["epoch"]
        call = node.stub.Subscribe(pb.SubscribeRequest(user_id=user), metadata=metadata)
        await call.initial_metadata()
        await own_nats.kill()
        await until_healthy(node, wanted=False)
        assert (await refused(node, trust, f"{user}-new"))["reason"] == "BUS_UNAVAILABLE"
        await own_nats.start()
        topic, event, payload = (await person.hear())[2:]
        assert (topic, event) == (f"user:{user}", "resync")
        assert payload["recovered"] is False
        assert payload["epoch"] != before
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        await until_healthy(node, wanted=True)
        async with publish_on(own_nats) as publisher:
            await publisher.notify(user, "n", title="t")
            said = (await person.hear())[4]
            assert (said["notification_id"], said["epoch"]) == ("n", payload["epoch"])
        async with node.person(trust.token(user)) as later:
            answer = (await later.join(f"user:{user}"))["response"]
            assert answer == {"recovered": False, "offset": said["offset"], "epoch": payload["epoch"]}


async def test_a_bus_that_lost_its_store_is_made_whole(
    own_nats: Nats, trust: Trust, run_node: Run, publish_on: PublishOn, user: str, tmp_path: Any
) -> None:
    async with run_node(own_nats) as node, node.person(trust.token(user)) as person:
        await person.join(f"user:{user}")
        await own_nats.kill()
        (tmp_path / "store").rename(tmp_path / "lost")
        await own_nats.start()
        assert (await person.hear(20))[3] == "resync"
        async with publish_on(own_nats) as publisher:
            assert await publisher.notify(user, "n", title="t") == 1
            assert (await person.hear())[4]["offset"] == 1


async def test_a_slow_reader_is_cut_off_and_delays_nobody(
    nats: Nats, trust: Trust, run_node: Run, publish_on: PublishOn, user: str
) -> None:
    async with run_node(nats) as node, publish_on(nats) as publisher:
        async with node.person(trust.token(user)) as slow, node.person(trust.token(user)) as quick:
            await slow.join(f"user:{user}")
            await quick.join(f"user:{user}")
            connection = slow.connection._response.connection
            assert connection is not None
            assert connection.transport is not None
            connection.transport.pause_reading()
            closes = 'crown_socket_closes_total{code="3008"}'
            sent = 0
            async with asyncio.timeout(60):
                while await node.metric(closes) == 0:
                    for _ in range(50):
                        await publisher.notify(user, "n", title="t", message="x" * 8_000)
                    sent += 50
            assert sent * 8_000 < 16 << 20
            for _ in range(sent):
                assert (await quick.hear())[3] == "notification"
            connection.transport.resume_reading()
            assert await slow.closed() in {3008, 1006}


async def refused(node: Node, trust: Trust, user: str) -> dict[str, Any]:
    """What a join is told while the bus is away."""
    async with node.person(trust.token(user)) as person:
        answer = await person.join(f"user:{user}")
        assert answer["status"] == "error"
        found: dict[str, Any] = answer["response"]
        return found


async def until_healthy(node: Node, wanted: bool) -> None:
    """Waits until health says so."""
    async with asyncio.timeout(20):
        while await node.healthy() != wanted:  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.1)


async def test_a_taken_port_is_named(
    nats: Nats, node: Node, start_badly: Callable[..., Awaitable[tuple[int | None, str]]]
) -> None:
    code, said = await start_badly(nats, CROWN_WEBSOCKET_PORT=str(node.websocket_port))
    assert code == 2
    assert "CROWN_WEBSOCKET_PORT" in said


async def test_bad_origins_are_named(
    nats: Nats, start_badly: Callable[..., Awaitable[tuple[int | None, str]]]
) -> None:
    code, said = await start_badly(nats, CROWN_ALLOWED_ORIGINS="app.example.org")
    assert code == 2
    assert "CROWN_ALLOWED_ORIGINS" in said
