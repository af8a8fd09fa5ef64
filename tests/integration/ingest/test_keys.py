"""What idempotency keys stood for, asked of a real Redis and a real store that go away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.ingest.intake import keys
from services.ingest.intake.keys import KeyBook, Seen, Use
from tests.integration.local import Local
from tests.integration.rig import Rig

A, B = b"hash of one body", b"hash of another"


@pytest.fixture
async def redis(rig: Rig) -> AsyncIterator[Redis]:
    """A connection as the API has it."""
    await rig.redis.flushall()
    found: Redis = Redis.from_url(rig.environment["REDIS_HOST"], socket_timeout=1, socket_connect_timeout=1)
    yield found
    await found.aclose()


@pytest.fixture
def book(redis: Redis, local: Local, monkeypatch: pytest.MonkeyPatch) -> KeyBook:
    """Asks both, and comes back to what failed at once."""
    monkeypatch.setattr(keys, "_PAUSE_S", 0.0)
    return KeyBook(redis, local.db)


async def store(local: Local, notification_id: str, request_hash: bytes) -> None:
    """As dispatch does."""
    await local.db.notifications.insert_one({"_id": notification_id, "request_hash": request_hash})


async def test_a_key_is_new_once(book: KeyBook) -> None:
    assert await book.seen(Use("n1", A)) is Seen.NOTHING
    assert await book.seen(Use("n1", A)) is Seen.THIS
    assert await book.seen(Use("n1", B)) is Seen.ANOTHER
    # As a version before this one had written it.
    assert await book.seen(Use("n1", B, former_hash=A)) is Seen.THIS
    assert await book.seen(Use("n1", A)) is Seen.THIS


async def test_of_two_at_once_one_is_first(book: KeyBook) -> None:
    found = await asyncio.gather(*(book.seen(Use("n1", hash_)) for hash_ in (A, B, A)))
    assert found == [Seen.NOTHING, Seen.ANOTHER, Seen.THIS]


async def test_it_is_kept_for_a_day(book: KeyBook, redis: Redis) -> None:
    await book.seen(Use("n1", A))
    assert 86_000 < await redis.ttl("crown:key:n1") <= 86_400


async def test_after_that_the_store_knows(book: KeyBook, redis: Redis, local: Local) -> None:
    await store(local, "stored", A)
    for hash_, expected in ((B, Seen.ANOTHER), (B, Seen.ANOTHER), (A, Seen.THIS)):
        assert await book.seen(Use("stored", hash_)) is expected
    await redis.flushall()
    found = await asyncio.gather(*(book.seen(Use("stored", hash_)) for hash_ in (B, A, B)))
    assert found == [Seen.ANOTHER, Seen.THIS, Seen.ANOTHER]
    assert await redis.get("crown:key:stored") == A


async def test_what_was_not_accepted_is_free_again(book: KeyBook) -> None:
    await book.seen(Use("n1", A))
    await book.seen(Use("n2", A))
    await book.forget({"n1"})
    assert await book.seen(Use("n1", B)) is Seen.NOTHING
    assert await book.seen(Use("n2", B)) is Seen.ANOTHER
    await book.forget(())


async def test_without_redis_the_store_is_asked(book: KeyBook, rig: Rig, local: Local) -> None:
    await store(local, "asked", A)
    async with rig.suspended("valkey"):
        assert await book.seen(Use("asked", A)) is Seen.THIS
        assert await book.seen(Use("asked", B)) is Seen.ANOTHER
        assert await book.seen(Use("not there", A)) is Seen.NOTHING
        await book.forget({"not there"})


async def test_an_answer_that_came_too_late_is_nobody_else_s(book: KeyBook, rig: Rig) -> None:
    """A connection whose answer nobody waited for must not give it to the next who asks."""
    uses = [Use(f"late-{n}", f"hash {n}".encode()) for n in range(20)]
    for use in uses:
        await book.seen(use)
    for _ in range(3):
        async with rig.suspended("valkey"):
            await asyncio.gather(*(book.seen(use) for use in uses))
        found = await asyncio.gather(*(book.seen(use) for use in reversed(uses)))
        assert found == [Seen.THIS] * len(uses)


async def test_without_both_nobody_is_refused_and_nobody_waits(
    book: KeyBook, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_PAUSE_S", 60.0)
    await book.seen(Use("n1", A))
    async with rig.suspended("valkey"), rig.suspended("mongod"):
        began = time.monotonic()
        assert await book.seen(Use("n1", B)) is Seen.NOTHING
        assert time.monotonic() - began < 2
        began = time.monotonic()
        for _ in range(50):
            assert await book.seen(Use("n1", B)) is Seen.NOTHING
        # Once found away, they are left alone.
        assert time.monotonic() - began < 0.5
