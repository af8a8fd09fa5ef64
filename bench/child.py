"""Processes of the benchmark's own: load must not share an event loop with what it loads, nor with whoever
counts. A child answers commands, a line of JSON each way, and ends when its parent does."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import uvloop

Answer = dict[str, Any]
Handle = Callable[[Answer], Awaitable[Answer]]

_END_LIMIT_S = 5.0
_LINE_MOST_BYTES = 16 << 20


class BenchError(Exception):
    """The benchmark cannot go on; the message says why."""


class Child:
    """A child, as its parent holds it: `python -m <module>`."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Child:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", self._module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_MOST_BYTES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _END_LIMIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    async def ask(self, timeout_s: float, **command: Any) -> Answer:
        """What it answers to `command`. Raises BenchError."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(command).encode() + b"\n")
        try:
            async with asyncio.timeout(timeout_s):
                line = await process.stdout.readline()
        except TimeoutError:
            raise BenchError(f"{self._module} did not answer within {timeout_s:g} s") from None
        if not line:
            raise BenchError(f"{self._module} ended")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{self._module}: {answer['error']}")
        return answer

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process


def serve(handle: Handle) -> None:
    """The life of a child: answers with what `handle` makes of each command, until its parent is gone."""
    uvloop.run(_serve(handle))
    # Servers and channels that are still open say so at length when they are collected.
    os._exit(0)


async def _serve(handle: Handle) -> None:
    reader = asyncio.StreamReader(limit=_LINE_MOST_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        try:
            answer = await handle(json.loads(line))
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Cpu:
    """The share of a core that this process has used since."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def share(self) -> float:
        """1.0 is a whole core."""
        return (time.process_time() - self._cpu) / max(time.perf_counter() - self._wall, 1e-9)
