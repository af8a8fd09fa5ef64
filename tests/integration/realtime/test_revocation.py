"""Sessions that end: open sockets close at once, and the tokens are refused on every node, also on one that starts
later."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import grpc
import pytest

from crown import subjects
from crown.bus import Outgoing
from crown.notification.v1 import events_pb2
from crown.notification.v1 import realtime_service_pb2 as pb
from stack.tokens import Use
from tests.integration.realtime.test_connect import status

if TYPE_CHECKING:
    from tests.integration.realtime.conftest import Nats, Node, Person, Publisher, Trust

    Run = Callable[..., AbstractAsyncContextManager[Node]]
    PublishOn = Callable[[Nats], AbstractAsyncContextManager[Publisher]]


async def revoke(publisher: Publisher, user: str, session: str = "", at: float | None = None) -> None:
    """As the auth service does it; from the next second on, so that tokens of this one are refused."""
    event = events_pb2.DisconnectEvent(user_id=user, session_id=session)
    event.revoke_time.FromMilliseconds(int((time.time() + 1 if at is None else at) * 1000))
    await send(publisher, subjects.revoked(user, session), event)


async def send(publisher: Publisher, subject: str, event: events_pb2.DisconnectEvent) -> None:
    """Puts it on the bus."""
    await publisher.bus.publish(Outgoing(subject, event.SerializeToString()))


async def code(node: Node, token: str) -> int:
    """What a handshake is answered."""
    return (await status(node, node.url(vsn="2.0.0", token=token)))[0]


async def alive(person: Person) -> None:
    """It still answers."""
    await person.say(None, "1", "phoenix", "heartbeat", {})
    assert (await person.hear())[1] == "1"


async def reason(person: Person) -> tuple[int | None, str | None]:
    """How it was closed."""
    message = await person.connection.receive(5)
    assert message.type == aiohttp.WSMsgType.CLOSE
    return message.data, message.extra


async def test_a_person_is_cut_off_everywhere_at_once_and_stays_out(
    nats: Nats, node: Node, run_node: Run, publisher: Publisher, trust: Trust, user: str
) -> None:
    token, other = trust.token(user), trust.token(f"{user}-other")
    async with run_node(nats) as second:
        async with node.person(token) as one, second.person(token) as two, node.person(other) as bystander:
            await revoke(publisher, user)
            assert await reason(one) == (1001, "revoked")
            assert await reason(two) == (1001, "revoked")
            await alive(bystander)
        assert await code(node, token) == await code(second, token) == 403
        assert await code(node, other) == 101
    async with run_node(nats) as later:
        assert await code(later, token) == 403
        assert await code(later, other) == 101


async def test_one_session_ends_and_the_others_go_on(
    node: Node, publisher: Publisher, trust: Trust, user: str
) -> None:
    first, second = trust.token(user, session="phone"), trust.token(user, session="laptop")
    async with node.person(first) as phone, node.person(second) as laptop:
        await revoke(publisher, user, "phone", at=time.time())
        assert await reason(phone) == (1001, "revoked")
        await alive(laptop)
    assert await code(node, first) == 403
    assert await code(node, second) == 101


async def test_a_new_login_works_in_the_same_second(
    node: Node, publisher: Publisher, trust: Trust, user: str
) -> None:
    async with node.person(trust.token(user)) as person:
        await revoke(publisher, user, at=time.time())
        assert await reason(person) == (1001, "revoked")
    assert await code(node, trust.token(user)) == 101


async def test_tokens_can_stay_good(
    nats: Nats, node: Node, run_node: Run, publisher: Publisher, trust: Trust, user: str
) -> None:
    token = trust.token(user)
    async with node.person(token) as person:
        await send(publisher, subjects.revoked(user, ""), events_pb2.DisconnectEvent(user_id=user))
        assert await reason(person) == (1012, "again")
    assert await code(node, token) == 101
    async with run_node(nats) as later:
        assert await code(later, token) == 101


@pytest.mark.parametrize(
    ("keep", "code", "again"),
    [
        pytest.param(False, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAUTHENTICATED, id="revoked"),
        pytest.param(True, grpc.StatusCode.UNAVAILABLE, None, id="kept"),
    ],
)
async def test_streams_end_too(
    node: Node, trust: Trust, user: str, keep: bool, code: grpc.StatusCode, again: grpc.StatusCode | None
) -> None:
    token = trust.token(user, session="phone")
    metadata = (("authorization", f"Bearer {token}"),)
    call = node.stub.Subscribe(pb.SubscribeRequest(user_id=user), metadata=metadata)
    await call.initial_metadata()
    operator = (("authorization", f"Bearer {trust.token('ops', use=Use.OPERATOR)}"),)
    async with node.person(token) as person:
        request = pb.DisconnectRequest(user_id=user, session_id="phone", keep_tokens=keep)
        await node.stub.Disconnect(request, metadata=operator)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() == code
        assert await reason(person) == ((1012, "again") if keep else (1001, "revoked"))
    call = node.stub.Subscribe(pb.SubscribeRequest(user_id=user), metadata=metadata)
    if again is None:
        await call.initial_metadata()
        call.cancel()
        return
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() == again


async def test_a_service_of_the_same_name_is_left_alone(
    node: Node, publisher: Publisher, trust: Trust, user: str
) -> None:
    async with (
        node.person(trust.token(user, use=Use.SERVICE)) as service,
        node.person(trust.token(user)) as one,
    ):
        await revoke(publisher, user)
        assert await reason(one) == (1001, "revoked")
        await alive(service)


async def test_what_cannot_be_read_is_passed_over_and_many_are_read(
    own_nats: Nats, run_node: Run, publish_on: PublishOn, trust: Trust, user: str
) -> None:
    async with publish_on(own_nats) as publisher:
        await publisher.bus.publish(Outgoing(subjects.revoked("broken", ""), b"\xff\xff"))
        many = [f"{user}-{number}" for number in range(2_500)]
        # From then on, however long it takes to publish them.
        then = time.time() + 60
        await asyncio.gather(*(revoke(publisher, one, at=then) for one in many))
        async with run_node(own_nats) as node:
            for one in (many[0], many[1_250], many[-1]):
                assert await code(node, trust.token(one)) == 403
            assert await code(node, trust.token("broken")) == 101
            async with node.person(trust.token(user)) as person:
                await publisher.bus.publish(Outgoing(subjects.revoked("broken", ""), b"\xff\xff"))
                await revoke(publisher, user)
                assert await reason(person) == (1001, "revoked")


async def test_what_was_revoked_while_a_node_was_cut_off_is_made_up_for(
    own_nats: Nats, run_node: Run, publish_on: PublishOn, trust: Trust, user: str
) -> None:
    token, other = trust.token(user), trust.token(f"{user}-other")
    async with publish_on(own_nats) as publisher:
        await revoke(publisher, f"{user}-other", at=time.time() - 60)
        async with run_node(own_nats) as node, node.person(token) as person, node.person(other) as bystander:
            process = node.process
            async with paused(process.pid):
                # Its socket at the bus is gone when it wakes up, and what came meanwhile with it.
                await own_nats.kill()
                await own_nats.start()
                await until_connected(publisher)
                await revoke(publisher, user)
            assert await reason(person) == (1001, "revoked")
            await alive(bystander)
            assert await code(node, token) == 403


@pytest.mark.parametrize("session", ["", "phone"])
async def test_a_token_that_was_seen_before_is_asked_about_again(
    node: Node, publisher: Publisher, trust: Trust, user: str, session: str
) -> None:
    token = trust.token(user, session="phone")
    assert await code(node, token) == 101
    await revoke(publisher, user, session)
    async with asyncio.timeout(5):
        while await code(node, token) != 403:  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.02)


@asynccontextmanager
async def paused(pid: int) -> AsyncIterator[None]:
    """Stops a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def until_connected(publisher: Publisher) -> None:
    """Waits until the publisher is back on its bus."""
    async with asyncio.timeout(10):
        while not publisher.bus.connected:  # noqa: ASYNC110 -- the library tells nobody
            await asyncio.sleep(0.05)
