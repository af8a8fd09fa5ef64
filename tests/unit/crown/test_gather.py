"""Calls made together become one, and each caller gets what is theirs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import pytest

from crown.gather import Gather


class Work:
    """Doubles numbers. `calls` are the batches; `gate` holds them back, `fail` says what they raise."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: Callable[[list[int]], BaseException | None] = lambda _items: None
        self.most_at_once = self.at_once = 0

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.calls.append(items)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            if (error := self.fail(items)) is not None:
                raise error
            return [2 * item for item in items]
        finally:
            self.at_once -= 1


@pytest.fixture
def work() -> Work:
    return Work()


async def turns(count: int = 5) -> None:
    """Lets everybody who is ready go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_call_is_a_call(work: Work) -> None:
    assert await Gather(work)(21) == 42
    assert work.calls == [[21]]


async def test_calls_of_one_turn_go_together(work: Work) -> None:
    gather: Gather[int, int] = Gather(work)
    assert await asyncio.gather(*(gather(n) for n in range(10))) == [2 * n for n in range(10)]
    assert work.calls == [list(range(10))]


async def test_no_call_is_larger_than_the_most(work: Work) -> None:
    gather: Gather[int, int] = Gather(work, most=4, parallel=2)
    work.gate.clear()
    tasks = [asyncio.create_task(gather(n)) for n in range(10)]
    await turns()
    assert work.at_once == 2
    work.gate.set()
    assert await asyncio.gather(*tasks) == [2 * n for n in range(10)]
    assert [len(call) for call in work.calls] == [4, 4, 2]
    assert work.most_at_once == 2


async def test_what_comes_meanwhile_rides_the_next(work: Work) -> None:
    gather: Gather[int, int] = Gather(work, parallel=1)
    work.gate.clear()
    first = asyncio.create_task(gather(1))
    await turns()
    later = [asyncio.create_task(gather(n)) for n in (2, 3, 4)]
    await turns()
    assert work.calls == [[1]]
    work.gate.set()
    assert await asyncio.gather(first, *later) == [2, 4, 6, 8]
    assert work.calls == [[1], [2, 3, 4]]


async def test_an_error_reaches_all_who_rode_and_nobody_else(work: Work) -> None:
    gather: Gather[int, int] = Gather(work, most=2)
    work.fail = lambda items: ValueError(str(items)) if 1 in items else None
    found = await asyncio.gather(*(gather(n) for n in (1, 2, 3, 4)), return_exceptions=True)
    assert [type(one) for one in found] == [ValueError, ValueError, int, int]
    assert found[2:] == [6, 8]
    work.fail = lambda _items: None
    assert await gather(1) == 2


async def test_who_gives_up_leaves_the_others_alone(work: Work) -> None:
    gather: Gather[int, int] = Gather(work)
    work.gate.clear()
    tasks = [asyncio.create_task(gather(n)) for n in (1, 2, 3)]
    await turns()
    tasks[1].cancel()
    await turns()
    work.gate.set()
    assert await tasks[0] == 2
    assert await tasks[2] == 6
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert await gather(5) == 10


async def test_who_gives_up_before_it_began_is_worked_on_all_the_same(work: Work) -> None:
    """A claim must not be half made: what was asked for is done, though nobody hears of it."""
    gather: Gather[int, int] = Gather(work)
    task = asyncio.create_task(gather(1))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await turns()
    assert work.calls == [[1]]


async def test_a_wrong_number_of_answers_is_an_error_and_not_a_hang() -> None:
    async def short(items: list[int]) -> list[int]:
        return items[:-1]

    gather: Gather[int, int] = Gather(short, parallel=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="zip"):
            await asyncio.wait_for(gather(1), 1)


async def test_work_that_is_cancelled_leaves_room_for_the_next(work: Work) -> None:
    gather: Gather[int, int] = Gather(work, parallel=1)
    work.fail = lambda _items: asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(gather(1), 1)
    work.fail = lambda _items: None
    assert await asyncio.wait_for(gather(2), 1) == 4
