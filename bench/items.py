"""A load generator for streams of requests, in a process of its own: some streams, and on each some requests whose
answers are still to come. It sends bytes that were made before and decodes no answer."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Protocol

import grpc

from bench.child import Answer, Cpu, serve
from bench.latency import Latencies

_LIMIT_S = 120.0


class _Stream(Protocol):
    async def write(self, request: bytes) -> None: ...

    async def read(self) -> object: ...

    async def done_writing(self) -> None: ...


class _Load:
    """One run on one stream. Answers outside its window are waited for and not counted."""

    def __init__(self, stream: _Stream, order: Answer) -> None:
        self._stream = stream
        self._body = base64.b64decode(order["body"])
        self._room = asyncio.Semaphore(order["ahead"])
        self._from = time.perf_counter() + order["warm_s"]
        self._until = self._from + order["seconds"]
        self._sent: list[float] = []
        self.answered = 0
        self.taken_s: list[float] = []

    async def run(self) -> None:
        """Sends and listens until the stream has ended."""
        sending = asyncio.create_task(self._send())
        while (await self._stream.read()) is not grpc.aio.EOF:
            now = time.perf_counter()
            if self._from <= now < self._until:
                self.taken_s.append(now - self._sent[self.answered])
            self.answered += 1
            self._room.release()
        await sending

    async def _send(self) -> None:
        while time.perf_counter() < self._until:
            await self._room.acquire()
            self._sent.append(time.perf_counter())
            await self._stream.write(self._body)
        await self._stream.done_writing()


async def handle(order: Answer) -> Answer:
    """Runs `streams` of `method` for `seconds`, after `warm_s` that do not count. Counts requests."""
    async with grpc.aio.insecure_channel(order["target"]) as channel:
        call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(order["method"])
        metadata = tuple((name, value) for name, value in order["metadata"])
        loads = [_Load(call(metadata=metadata, timeout=_LIMIT_S), order) for _ in range(order["streams"])]
        cpu = Cpu()
        await asyncio.gather(*(load.run() for load in loads))
        return _answer(loads, order["seconds"], cpu.share())


def _answer(loads: Sequence[_Load], seconds: float, cpu: float) -> Answer:
    taken_s = [value for load in loads for value in load.taken_s]
    return {
        "per_s": len(taken_s) / seconds,
        "made": sum(load.answered for load in loads),
        "latencies": Latencies.of(taken_s).text(),
        "cpu": cpu,
    }


if __name__ == "__main__":
    serve(handle)
