"""Many notifications over one stream, for as long as there are some. The same without asyncio is
crown/client/sync/streaming.py."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing, suppress
from typing import TypeAlias

import grpc

from crown.client import refusals
from crown.client.bulk import Sent
from crown.client.calls import Calls, pause_s
from crown.client.unanswered import ITEMS_MOST, Unanswered, goes_on
from crown.errors import CrownError, OutcomeUnknown
from crown.notification.v1.ingest_service_pb2 import (
    SendNotificationRequest,
    StreamNotificationsRequest,
    StreamNotificationsResponse,
)

Drafts: TypeAlias = Iterable[SendNotificationRequest] | AsyncIterable[SendNotificationRequest]
Method: TypeAlias = grpc.aio.StreamStreamMultiCallable[
    StreamNotificationsRequest, StreamNotificationsResponse
]
Call: TypeAlias = grpc.aio.StreamStreamCall[StreamNotificationsRequest, StreamNotificationsResponse]


async def streamed(method: Method, calls: Calls, drafts: Drafts, window: int) -> AsyncGenerator[Sent, None]:
    """What became of each draft, in order. Drafts are asked for as long as fewer than `window` wait for their
    results. Streams that break off are followed by another, until there was no result for as long as a call may
    take; then CrownError is raised. What asking for drafts raises is raised after all results."""
    feed = _Feed(drafts, window)
    filling = asyncio.create_task(feed.fill(), name="drafts")
    attempt, loop = 0, asyncio.get_running_loop()
    until = loop.time() + calls.patience.call_s
    try:
        while True:
            answered = False
            try:
                async with aclosing(_once(method, calls, feed)) as results:
                    async for sent in results:
                        yield sent
                        answered, attempt, until = True, 0, loop.time() + calls.patience.call_s
                break
            except CrownError as error:
                attempt += 1
                pause = pause_s(attempt, error.retry_after_s, calls.chance)
                if not goes_on(error, answered) or loop.time() + pause >= until:
                    raise
            await asyncio.sleep(pause)
    finally:
        await _ended(filling)
    if feed.error is not None:
        raise feed.error


async def _once(method: Method, calls: Calls, feed: _Feed) -> AsyncGenerator[Sent, None]:
    """The results of one stream."""
    call = method(metadata=await calls.authorization())
    writing = asyncio.create_task(_write(call, feed), name="write")
    watch = _Watch(call, feed, calls.patience.call_s)
    watching = asyncio.create_task(watch.run(), name="watch")
    try:
        while isinstance(answer := await call.read(), StreamNotificationsResponse):
            watch.heard()
            for sent in await feed.answered(answer):
                yield sent
            watch.heard()
        if not feed.done:
            raise OutcomeUnknown("the stream ended early")
    except grpc.aio.AioRpcError as error:
        raise refusals.from_call(error) from error
    except asyncio.CancelledError:
        if not watch.stalled:
            raise
        raise OutcomeUnknown("there was no result in time") from None
    finally:
        call.cancel()
        await _ended(writing)
        await _ended(watching)


async def _write(call: Call, feed: _Feed) -> None:
    try:
        for request in feed.unanswered.again():
            await call.write(request)
        while requests := await feed.more():
            for request in requests:
                await call.write(request)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # The stream has ended; who reads hears why.
        return


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class _Watch:
    """Ends a stream whose results stay away."""

    def __init__(self, call: Call, feed: _Feed, limit_s: float) -> None:
        self._call = call
        self._feed = feed
        self._limit_s = limit_s
        self.stalled = False
        self.heard()

    def heard(self) -> None:
        """There was a result just now."""
        self._heard = asyncio.get_running_loop().time()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._limit_s / 10)
            if not self._feed.unanswered:
                self.heard()
            elif asyncio.get_running_loop().time() - self._heard > self._limit_s:
                self.stalled = True
                self._call.cancel()
                return


class _Feed:
    """Drafts as they come, no more than `window` of them without a result."""

    def __init__(self, drafts: Drafts, window: int) -> None:
        self._drafts = drafts
        self._window = window
        self._waiting: deque[SendNotificationRequest] = deque()
        self._changed = asyncio.Condition()
        self._ended = False
        self.unanswered = Unanswered()
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether every draft has its result."""
        return self._ended and not self._waiting and not self.unanswered

    async def fill(self) -> None:
        """Asks for drafts."""
        try:
            if isinstance(self._drafts, AsyncIterable):
                async for draft in self._drafts:
                    await self._put(draft)
            else:
                for draft in self._drafts:
                    await self._put(draft)
        except Exception as error:
            self.error = error
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def _put(self, draft: SendNotificationRequest) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) + len(self.unanswered) < self._window)
            self._waiting.append(draft)
            self._changed.notify_all()

    async def more(self) -> list[StreamNotificationsRequest]:
        """What has come up, at least one draft; empty where there will be no more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._ended)
            some = [self._waiting.popleft() for _ in range(min(ITEMS_MOST, len(self._waiting)))]
            return self.unanswered.add(some)

    async def answered(self, answer: StreamNotificationsResponse) -> list[Sent]:
        """The results in an answer, which make room for others."""
        async with self._changed:
            self._changed.notify_all()
            return self.unanswered.answered(answer)
