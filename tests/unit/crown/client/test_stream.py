"""Notifications over a stream, by both halves of the client, against a real server that misbehaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from crown.client import Client, Sent, draft
from crown.client.calls import Patience
from crown.client.sync import Client as SyncClient
from crown.errors import (
    CrownError,
    IntakeFull,
    InvalidRequest,
    NotReady,
    OutcomeUnknown,
    Unauthenticated,
    Violation,
)
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from tests.unit.crown.client.stream_suite import StreamSuite, Turn

QUICK = Patience(call_s=1.0, attempt_s=0.5)
Half = Callable[..., Awaitable[list[Sent]]]


async def asynchronous(address: str, drafts: Iterable[SendNotificationRequest], **options: Any) -> list[Sent]:
    """What the half with asyncio makes of the drafts."""
    window = options.pop("window", 2_000)
    async with Client(address, **{"token": "t", "patience": QUICK, **options}) as client:
        return [sent async for sent in client.send_stream(drafts, window=window)]


async def synchronous(address: str, drafts: Iterable[SendNotificationRequest], **options: Any) -> list[Sent]:
    """What the other half makes of them."""
    window = options.pop("window", 2_000)

    def run() -> list[Sent]:
        with SyncClient(address, **{"token": "t", "patience": QUICK, **options}) as client:
            return list(client.send_stream(drafts, window=window))

    return await asyncio.to_thread(run)


@pytest.fixture(params=[asynchronous, synchronous], ids=["async", "sync"])
def half(request: pytest.FixtureRequest) -> Half:
    found: Half = request.param
    return found


def people(count: int) -> list[SendNotificationRequest]:
    return [draft(user_id=f"u{number}", title="Hello") for number in range(count)]


def all_of(count: int) -> list[Sent]:
    return [Sent(f"of u{number}") for number in range(count)]


async def test_every_draft_has_its_result_in_order(half: Half) -> None:
    suite = StreamSuite()
    async with suite.serving() as address:
        assert await half(address, people(1_200)) == all_of(1_200)
    assert max(suite.sizes) <= 500
    assert len(suite.taken) == 1
    assert len(set(suite.keys())) == 1_200


async def test_of_none_there_is_nothing(half: Half) -> None:
    async with StreamSuite().serving() as address:
        assert await half(address, []) == []


async def test_the_callers_drafts_stay_as_they_were(half: Half) -> None:
    drafts = [*people(1), draft(user_id="u1", title="Hello", idempotency_key="mine")]
    suite = StreamSuite()
    async with suite.serving() as address:
        await half(address, drafts)
    assert [one.idempotency_key for one in drafts] == ["", "mine"]
    assert suite.keys()[0]
    assert suite.keys()[1] == "mine"


@pytest.mark.parametrize("error", [None, NotReady("going away", retry_after_s=0.0)], ids=["broken", "told"])
async def test_what_has_no_result_goes_onto_the_next_stream_with_its_key(
    half: Half, error: CrownError | None
) -> None:
    suite = StreamSuite([Turn(3, error), Turn(4, error)])
    async with suite.serving() as address:
        assert await half(address, people(20)) == all_of(20)
    assert len(suite.taken) == 3
    # Taken without a result once each time, and known again by its key.
    assert len(suite.keys()) == 22
    assert len(set(suite.keys())) == 20


async def test_a_refused_item_ends_nothing(half: Half) -> None:
    suite = StreamSuite(refuse={"u1": IntakeFull("full")})
    async with suite.serving() as address:
        sent = await half(address, people(3))
    assert [one.notification_id for one in sent] == ["of u0", "", "of u2"]
    assert isinstance(sent[1].error, IntakeFull)


async def test_a_final_no_is_raised_at_once(half: Half) -> None:
    bad = InvalidRequest.of([Violation("items", "too many", "repeated.max_items")])
    suite = StreamSuite([Turn(0, bad)])
    async with suite.serving() as address:
        with pytest.raises(InvalidRequest, match="too many"):
            await half(address, people(3))
    assert len(suite.taken) == 1


async def test_a_token_that_expires_under_way_is_followed_by_another(half: Half) -> None:
    tokens = iter("abcdef")
    suite = StreamSuite([Turn(2, Unauthenticated("expired"))])
    async with suite.serving() as address:
        assert await half(address, people(4), token="", token_source=lambda: next(tokens)) == all_of(4)
    assert suite.tokens == ["Bearer a", "Bearer b"]


async def test_a_token_that_was_never_good_is_an_error(half: Half) -> None:
    suite = StreamSuite([Turn(0, Unauthenticated("who?"))])
    async with suite.serving() as address:
        with pytest.raises(Unauthenticated):
            await half(address, people(4))
    assert len(suite.taken) == 1


async def test_results_that_stay_away_are_an_unknown_outcome(half: Half) -> None:
    suite = StreamSuite([Turn(go=asyncio.Event()) for _ in range(9)])
    async with suite.serving() as address:
        with pytest.raises(OutcomeUnknown, match="no result in time"):
            await half(address, people(4), patience=Patience(call_s=0.4, attempt_s=0.4))


async def test_nobody_there_is_an_error_in_time(half: Half) -> None:
    with pytest.raises(CrownError):
        await half("127.0.0.1:1", people(1), patience=Patience(call_s=0.4, attempt_s=0.4))


async def test_no_more_drafts_are_asked_for_than_may_wait(half: Half) -> None:
    go, asked = asyncio.Event(), []

    def drafts() -> Iterator[SendNotificationRequest]:
        for one in people(200):
            asked.append(one)
            yield one

    suite = StreamSuite([Turn(go=go)])
    async with suite.serving() as address:
        running = asyncio.ensure_future(half(address, drafts(), window=50))
        await suite.arrived.wait()
        await asyncio.sleep(0.1)
        # One more is at hand, and waits for room.
        assert len(asked) <= 51
        go.set()
        assert await running == all_of(200)


async def test_what_asking_for_drafts_raises_comes_after_the_results(half: Half) -> None:
    def drafts() -> Iterator[SendNotificationRequest]:
        yield from people(3)
        raise LookupError("no more rows")

    suite = StreamSuite()
    async with suite.serving() as address:
        with pytest.raises(LookupError, match="no more rows"):
            await half(address, drafts())
    assert len(suite.keys()) == 3


async def test_results_come_while_the_next_draft_is_waited_for() -> None:
    more = asyncio.Event()

    async def drafts() -> AsyncIterator[SendNotificationRequest]:
        first, second = people(2)
        yield first
        await more.wait()
        yield second

    async with StreamSuite().serving() as address, Client(address, patience=QUICK) as client:
        results = client.send_stream(drafts())
        assert await anext(results) == Sent("of u0")
        more.set()
        assert [sent async for sent in results] == [Sent("of u1")]


async def test_the_same_without_asyncio() -> None:
    more = threading.Event()

    def drafts() -> Iterator[SendNotificationRequest]:
        first, second = people(2)
        yield first
        assert more.wait(10)
        yield second

    def run(address: str) -> None:
        with SyncClient(address, patience=QUICK) as client:
            results = client.send_stream(drafts())
            assert next(results) == Sent("of u0")
            more.set()
            assert list(results) == [Sent("of u1")]

    async with StreamSuite().serving() as address:
        await asyncio.to_thread(run, address)


async def test_a_caller_who_has_enough_ends_the_stream(half: Half) -> None:
    suite = StreamSuite()

    def drafts() -> Iterator[SendNotificationRequest]:
        while True:
            yield draft(user_id="u0", title="Hello")

    def run(address: str) -> None:
        with SyncClient(address, patience=QUICK) as client:
            for _ in client.send_stream(drafts(), window=10):
                return

    async with suite.serving() as address:
        if half is synchronous:
            await asyncio.to_thread(run, address)
        else:
            async with Client(address, patience=QUICK) as client:
                async with aclosing(client.send_stream(drafts(), window=10)) as results:
                    await anext(results)
        async with asyncio.timeout(5):
            await suite.ended.wait()
    assert len(suite.taken) == 1
