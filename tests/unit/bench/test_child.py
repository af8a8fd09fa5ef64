"""A process of the benchmark's own: what it answers, what it fails with, and that it ends."""

from __future__ import annotations

import psutil
import pytest

from bench.child import BenchError, Child


async def test_a_child_answers_and_ends() -> None:
    async with Child("bench.empty") as child:
        assert (await child.ask(20))["target"].startswith("127.0.0.1:")
        pid = child.pid
    assert not psutil.pid_exists(pid)


async def test_what_goes_wrong_in_a_child_is_told() -> None:
    async with Child("bench.batches") as child:
        with pytest.raises(BenchError, match=r"bench\.batches: KeyError: 'seconds'"):
            await child.ask(20, nonsense=True)


async def test_a_child_that_is_gone_is_an_error() -> None:
    async with Child("bench.no_such_module") as child:
        with pytest.raises(BenchError, match="ended"):
            await child.ask(20)
