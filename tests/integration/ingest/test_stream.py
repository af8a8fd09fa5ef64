"""Notifications by stream: a result for each item, in order, and none that is not true, however the stream ends."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from crown.auth import LEEWAY_S
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.ingest_service_pb2 import (
    StreamItem,
    StreamNotificationsRequest,
    StreamNotificationsResponse,
    StreamResult,
)
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.types_pb2 import NotificationStatus
from tests.integration.api import Api, reason_of, request
from tests.integration.local import Local
from tests.integration.rig import Rig, Service, until
from tests.unit.crown.issuer import Issuer

ACCEPTED = NotificationStatus.ACCEPTED
Opened = grpc.aio.StreamStreamCall[StreamNotificationsRequest, StreamNotificationsResponse]


@pytest.fixture(scope="module")
async def service(rig: Rig) -> AsyncIterator[Service]:
    """The API."""
    async with rig.running("api") as service:
        yield service


@pytest.fixture
def api(rig: Rig, service: Service) -> Api:
    """Its caller."""
    return Api(rig, service)


class Stream:
    """One stream, as a caller holds it."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]]) -> None:
        self.call: Any = IngestServiceStub(channel).StreamNotifications(metadata=metadata, timeout=60)

    async def say(self, *items: StreamItem) -> None:
        """Sends one request."""
        await self.call.write(StreamNotificationsRequest(items=items))

    async def hear(self) -> list[StreamResult]:
        """The results of the next request."""
        answer = await asyncio.wait_for(self.call.read(), 10)
        assert answer is not grpc.aio.EOF
        return list(answer.results)

    async def rest(self) -> list[StreamResult]:
        """All results that are still to come, until it ends. Raises AioRpcError."""
        found: list[StreamResult] = []
        async with asyncio.timeout(30):
            while (answer := await self.call.read()) is not grpc.aio.EOF:
                found.extend(answer.results)
        return found

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """How it has ended: its code, and the reason."""
        code = await asyncio.wait_for(self.call.code(), 15)
        for name, value in await self.call.trailing_metadata():
            if name == "grpc-status-details-bin":
                return code, reason_of(status_pb2.Status.FromString(value))
        return code, ""


@asynccontextmanager
async def opened(api: Api, key: str = "") -> AsyncIterator[Stream]:
    stream = Stream(api.service.channel, api.metadata(key))
    yield stream
    stream.call.cancel()


def item(item_id: str = "", **given: Any) -> StreamItem:
    return StreamItem(item_id=item_id, notification=request(**given))


async def test_each_item_has_its_result_in_order(api: Api, local: Local) -> None:
    before = await local.messages("INTAKE_normal")
    async with opened(api) as stream:
        await stream.say(item("a"), item("b", user_id="a b", kind="coup"))
        await stream.say(StreamItem(), item("x" * 65), item("e"))
        results = [*await stream.hear(), *await stream.hear()]
        await stream.call.done_writing()
        assert await stream.rest() == []
        assert await stream.ended() == (grpc.StatusCode.OK, "")
    assert [result.item_id for result in results] == ["a", "b", "", "x" * 65, "e"]
    assert [result.position for result in results] == [0, 1, 2, 3, 4]
    assert [result.HasField("error") for result in results] == [False, True, True, True, False]
    assert results[0].status == results[4].status == ACCEPTED
    assert results[0].notification_id != results[4].notification_id
    assert {reason_of(result.error) for result in results[1:4]} == {"INVALID_REQUEST"}
    assert "user_id: must be" in results[1].error.message
    assert "kind: must be one of" in results[1].error.message
    assert "data: is required" in results[2].error.message
    assert "item_id: must be at most 64 characters" in results[3].error.message
    assert not results[1].HasField("notification_id")
    assert await local.messages("INTAKE_normal") == before + 2


async def test_what_is_left_comes_after_the_last_item(api: Api) -> None:
    async with opened(api) as stream:
        for frame in range(10):
            await stream.say(*(item(str(frame * 100 + n)) for n in range(100)))
        await stream.call.done_writing()
        results = await stream.rest()
        assert await stream.ended() == (grpc.StatusCode.OK, "")
    assert [result.item_id for result in results] == [str(n) for n in range(1_000)]
    assert [result.position for result in results] == list(range(1_000))
    assert len({result.notification_id for result in results}) == 1_000


async def test_one_key_is_one_notification(api: Api) -> None:
    async with opened(api) as stream:
        await stream.say(item(idempotency_key="s1"), item(idempotency_key="s1"))
        await stream.say(item(idempotency_key="s1", data={"title": "Another"}))
        (one, same), (other,) = await stream.hear(), await stream.hear()
    assert one.notification_id == same.notification_id == await api.send(idempotency_key="s1")
    assert reason_of(other.error) == "KEY_REUSED"


async def test_the_key_of_a_stream_is_for_each_place(api: Api) -> None:
    found: list[list[str]] = []
    for _ in range(2):
        async with opened(api, key="stream") as stream:
            await stream.say(item(), item())
            await stream.say(item())
            results = [*await stream.hear(), *await stream.hear()]
            found.append([result.notification_id for result in results])
    assert found[0] == found[1]
    assert len(set(found[0])) == 3


async def test_a_caller_that_does_not_listen_is_not_read(api: Api) -> None:
    """What waits for its result is bounded: further items are not accepted until it listens."""

    async def accepted() -> float:
        return await api.service.metric("crown_accepted_total")

    # Long names, so that results soon fill what a connection holds that does not grow.
    frame = [item("x" * 64, user_id="u" * 100) for _ in range(500)]
    options = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 64 << 10))
    before = await accepted()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{api.service.port}", options) as channel:
        stream = Stream(channel, api.metadata())

        async def talk() -> None:
            for _ in range(40):
                await stream.say(*frame)
            await stream.call.done_writing()

        talking = asyncio.create_task(talk())
        last, now = -1.0, 0.0
        while now != last or not now:
            await asyncio.sleep(0.5)
            last, now = now, await accepted() - before
        assert now <= 30 * 500
        results = await stream.rest()
        await talking
    assert [result.position for result in results] == list(range(40 * 500))
    assert {result.status for result in results} == {ACCEPTED}


@pytest.mark.parametrize(
    ("items", "reason"),
    [([], "INVALID_REQUEST"), ([StreamItem()] * 501, "INVALID_REQUEST"), ([None], "UNDECODABLE")],
    ids=["none", "too many", "no message"],
)
async def test_a_bad_request_ends_it_after_what_was_read_before(
    api: Api, items: list[Any], reason: str
) -> None:
    raw = b"\xff" if items == [None] else StreamNotificationsRequest(items=items).SerializeToString()
    call: Any = api.service.channel.stream_stream("/crown.notification.v1.IngestService/StreamNotifications")(
        metadata=api.metadata(), timeout=20
    )
    good = StreamNotificationsRequest(items=[item("a")] * 200).SerializeToString()
    await call.write(good)
    await call.write(raw)
    answer = StreamNotificationsResponse.FromString(await call.read())
    assert [result.status for result in answer.results] == [ACCEPTED] * 200
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details: Any = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    assert reason_of(status_pb2.Status.FromString(details)) == reason


async def test_too_many_people_in_one_request_end_it(api: Api) -> None:
    crowd = [f"user{n}" for n in range(5_001)]
    async with opened(api) as stream:
        await stream.say(item(user_ids=crowd), item(user_ids=crowd))
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.rest()
        assert await stream.ended() == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        ([], grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        ([("authorization", "Bearer nonsense")], grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"),
        (None, grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"),
    ],
    ids=["nobody", "nonsense", "a person"],
)
async def test_who_may_not_is_told_before_anything_is_read(
    rig: Rig, service: Service, metadata: Any, code: grpc.StatusCode, reason: str
) -> None:
    if metadata is None:
        metadata = [("authorization", f"Bearer {rig.token(user='user123')}")]
    stream = Stream(service.channel, metadata)
    with pytest.raises(grpc.aio.AioRpcError):
        await stream.rest()
    assert await stream.ended() == (code, reason)


async def test_who_speaks_at_once_is_told_why_it_may_not(rig: Rig, service: Service) -> None:
    metadata = (("authorization", f"Bearer {rig.token(user='user123')}"),)
    for _ in range(50):
        stream = Stream(service.channel, metadata)
        await stream.say(item("a"))
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.rest()
        assert await stream.ended() == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")


async def test_a_token_that_expires_ends_it_after_the_results(rig: Rig, service: Service) -> None:
    # Signed so long ago that what is granted on top is nearly over.
    token = rig.token(ttl_s=2 - LEEWAY_S)
    stream = Stream(service.channel, [("authorization", f"Bearer {token}")])
    await stream.say(item("a"))
    assert [result.status for result in await stream.hear()] == [ACCEPTED]
    with pytest.raises(grpc.aio.AioRpcError):
        await stream.rest()
    assert await stream.ended() == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_a_key_that_is_withdrawn_ends_it(rig: Rig, tmp_path: Path) -> None:
    published = tmp_path / "jwks.json"
    shutil.copyfile(rig.environment["CROWN_JWKS"], published)
    async with rig.running("api", CROWN_JWKS=str(published)) as service:
        async with opened(Api(rig, service)) as stream:
            await stream.say(item("a"))
            assert [result.status for result in await stream.hear()] == [ACCEPTED]
            fresh = published.with_suffix(".new")
            Issuer().publish(fresh)
            fresh.replace(published)
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.rest()
            assert await stream.ended() == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_a_server_that_goes_answers_what_it_has_read(rig: Rig) -> None:
    async with rig.running("api") as service:
        api = Api(rig, service)
        async with opened(api) as stream:
            await stream.say(*(item(str(n)) for n in range(500)))
            service.signal(signal.SIGTERM)
            results = await stream.hear()
            assert [result.status for result in results] == [ACCEPTED] * 500
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.rest()
            assert await stream.ended() == (grpc.StatusCode.UNAVAILABLE, "NOT_READY")
            assert dict(await stream.call.trailing_metadata())["retry-after"] == "1"
        assert await service.ended() == 0


async def stored_ids(local: Local) -> list[str]:
    found = []
    for lane in ("normal", "bulk"):
        raw = await local.stored(f"INTAKE_{lane}", f"crown.intake.{lane}")
        found += [IntakeEvent.FromString(one).notification_id for one in raw]
    return found


async def test_what_was_acknowledged_survives_a_kill_and_the_rest_may_be_sent_again(
    rig: Rig, api: Api, local: Local
) -> None:
    person = local.somebody()

    def frame(number: int) -> list[StreamItem]:
        return [
            item(f"{number}-{n}", user_id=person, idempotency_key=f"kill-{number}-{n}") for n in range(20)
        ]

    acknowledged: dict[str, str] = {}
    async with rig.running("api") as victim:
        async with opened(Api(rig, victim)) as stream:

            async def talk() -> None:
                for number in range(30):
                    await stream.say(*frame(number))

            talking = asyncio.create_task(talk())
            while len(acknowledged) < 100:
                acknowledged |= {r.item_id: r.notification_id for r in await stream.hear()}
            victim.signal(signal.SIGKILL)
            # Its call is over, whatever it was about to say.
            await asyncio.wait([talking])
            talking.cancel()
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.rest()
        await victim.ended()
    assert set(acknowledged.values()) <= set(await stored_ids(local))
    async with opened(api) as stream:
        for number in range(30):
            await stream.say(*frame(number))
        await stream.call.done_writing()
        again = {result.item_id: result.notification_id for result in await stream.rest()}
    assert len(set(again.values())) == 600
    assert acknowledged.items() <= again.items()
    async with local.dispatching():
        await until(
            lambda: local.db.ledger.count_documents({"user_id": person}), lambda count: count >= 600, 30
        )
        await local.dispatched()
    assert await local.db.ledger.count_documents({"user_id": person}) == 600
