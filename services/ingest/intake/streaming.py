"""The results of a stream of requests: several are worked on at a time, their results come in order, and reading
stops while too many wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

A = TypeVar("A")
F = TypeVar("F")


class Acknowledged(Generic[F, A]):
    """Works on requests: `weigh` says what each counts, and `work` makes its answer. No further one is begun while
    it would bring what waits for its answer above `most`, unless nothing waits."""

    def __init__(self, weigh: Callable[[F], int], work: Callable[[F], Awaitable[A]], most: int) -> None:
        self._weigh = weigh
        self._work = work
        self._most = most
        self._weight = 0
        self._begun: deque[tuple[int, asyncio.Future[A]]] = deque()
        # Set when there may be something new to do for whoever waits.
        self._more = asyncio.Event()
        self._room = asyncio.Event()

    async def answers(self, requests: AsyncGenerator[F, None]) -> AsyncGenerator[A, None]:
        """The answers, in order. What ends `requests` early is raised when all that were read are answered."""
        reading = asyncio.create_task(self._read(requests))
        reading.add_done_callback(lambda _: self._more.set())
        try:
            while self._begun or not reading.done():
                if not self._begun:
                    self._more.clear()
                    await self._more.wait()
                    continue
                weight, answer = self._begun[0]
                yield await answer
                self._begun.popleft()
                self._weight -= weight
                self._room.set()
            await reading
        finally:
            await self._end(reading)

    async def _read(self, requests: AsyncGenerator[F, None]) -> None:
        async for request in requests:
            weight = self._weigh(request)
            while self._begun and self._weight + weight > self._most:
                self._room.clear()
                await self._room.wait()
            self._weight += weight
            self._begun.append((weight, asyncio.ensure_future(self._work(request))))
            self._more.set()

    async def _end(self, reading: asyncio.Task[None]) -> None:
        reading.cancel()
        for _, answer in self._begun:
            answer.cancel()
        # Whoever reads has to be done before the requests can be closed.
        await asyncio.wait([reading])
        with suppress(asyncio.CancelledError, Exception):
            reading.result()
