"""Results of a stream: in order, several at a time, never too many waiting, and none lost at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from crown.errors import NotReady
from services.ingest.intake.streaming import Acknowledged


class Work:
    """Answers each request when its turn is `released`; remembers what was begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.read: list[int] = []
        self.cancelled: list[int] = []
        self.released: dict[int, asyncio.Event] = {}

    def release(self, *requests: int) -> None:
        for request in requests:
            self.released.setdefault(request, asyncio.Event()).set()

    async def __call__(self, request: int) -> str:
        self.begun.append(request)
        try:
            await self.released.setdefault(request, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        return f"done {request}"

    async def requests(self, given: Sequence[int], end: Exception | None = None) -> AsyncGenerator[int, None]:
        for request in given:
            self.read.append(request)
            yield request
        if end is not None:
            raise end


async def settle() -> None:
    """Everything that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


def weigh(request: int) -> int:
    return request


async def collected(answers: AsyncGenerator[str, None], into: list[str]) -> None:
    async with aclosing(answers):
        async for answer in answers:
            into.append(answer)


async def test_they_come_in_order_though_they_are_done_in_another() -> None:
    work, got = Work(), list[str]()
    answers = Acknowledged(lambda _: 1, work, 10).answers(work.requests([1, 2, 3]))
    task = asyncio.create_task(collected(answers, got))
    await settle()
    assert work.begun == [1, 2, 3]
    work.release(3, 2)
    await settle()
    assert got == []
    work.release(1)
    await task
    assert got == ["done 1", "done 2", "done 3"]


async def test_reading_stops_while_too_much_waits() -> None:
    work, got = Work(), list[str]()
    answers = Acknowledged(weigh, work, 10).answers(work.requests([6, 4, 1, 20, 2]))
    task = asyncio.create_task(collected(answers, got))
    await settle()
    # The next one is read, but not begun: nobody knows its weight before.
    assert (work.begun, work.read) == ([6, 4], [6, 4, 1])
    work.release(6)
    await settle()
    assert work.begun == [6, 4, 1]
    work.release(4, 1)
    await settle()
    # More than there is ever room for goes alone.
    assert work.begun == [6, 4, 1, 20]
    work.release(20)
    await settle()
    assert work.begun == [6, 4, 1, 20, 2]
    work.release(2)
    await task
    assert len(got) == 5


async def test_answers_that_nobody_takes_count() -> None:
    """A caller that does not read its results is not read either."""
    work = Work()
    work.release(*range(1, 100))
    answers = Acknowledged(lambda _: 1, work, 3).answers(work.requests(range(1, 100)))
    async with aclosing(answers):
        assert await anext(answers) == "done 1"
        await settle()
        assert len(work.read) <= 4
        assert await anext(answers) == "done 2"
        await settle()
        assert len(work.read) <= 5


async def test_what_ends_it_is_told_after_the_answers() -> None:
    work, got = Work(), list[str]()
    answers = Acknowledged(lambda _: 1, work, 10).answers(work.requests([1, 2], NotReady("going")))
    task = asyncio.create_task(collected(answers, got))
    await settle()
    assert not task.done()
    work.release(1, 2)
    with pytest.raises(NotReady):
        await task
    assert got == ["done 1", "done 2"]


async def test_a_stream_of_nothing_ends() -> None:
    work, got = Work(), list[str]()
    await collected(Acknowledged(lambda _: 1, work, 10).answers(work.requests([])), got)
    assert got == []


async def test_a_caller_that_leaves_ends_all_of_it() -> None:
    work, got = Work(), list[str]()
    requests = work.requests([1, 2, 3])
    task = asyncio.create_task(collected(Acknowledged(lambda _: 1, work, 2).answers(requests), got))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert work.cancelled == [1, 2]
    # Nobody reads any more, so that whoever opened it can close it.
    await requests.aclose()
