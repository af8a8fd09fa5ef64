"""Collects calls that are made at about the same time into one call: one round trip to the store instead of
many, while each caller reads as if it were alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Gather(Generic[K, V]):
    """Calls `work` with the items of all callers that came while it was busy, up to `most` at once. `work`
    answers one result for each item, in order; what it raises is raised to all of them."""

    def __init__(
        self,
        work: Callable[[list[K]], Awaitable[Sequence[V]]],
        most: int = 256,
        parallel: int = 2,
    ) -> None:
        self._work = work
        self._most = most
        self._room = parallel
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._due = False

    async def __call__(self, item: K) -> V:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V] = loop.create_future()
        self._waiting.append((item, future))
        if not self._due and self._room:
            # Not at once: whoever else is ready in this turn of the loop joins.
            self._due = True
            loop.call_soon(self._begin)
        return await future

    def _begin(self) -> None:
        self._due = False
        while self._room and self._waiting:
            taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._room -= 1
            task = asyncio.get_running_loop().create_task(self._run(taken))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, taken: list[tuple[K, asyncio.Future[V]]]) -> None:
        waiting = [future for _, future in taken]
        try:
            results = await self._work([item for item, _ in taken])
            for future, result in zip(waiting, results, strict=True):
                if not future.done():  # else its caller gave up
                    future.set_result(result)
        except asyncio.CancelledError:
            for future in waiting:
                future.cancel()
            raise
        except Exception as error:
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
        finally:
            self._room += 1
            self._begin()
