"""The limit of accepting in bulk, in a process of its own: bare atomic batches, published to a stream that
answers when they are fsynced."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time

from nats.aio.client import Client

from bench.child import Answer, BenchError, Cpu, serve
from bench.intake import connect

_STREAM = "BENCH_PEER"
_SUBJECT = "bench.peer"
_MOST_BYTES = 1 << 28
_CONFIRM_LIMIT_S = 10
_numbers = itertools.count()


class Publisher:
    """Publishes the same messages over and over."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._bodies: list[bytes] = []

    async def handle(self, order: Answer) -> Answer:
        """`open` connects and takes the messages of a batch; without it, `in_flight` batches at a time for
        `seconds`."""
        if "open" in order:
            self._bodies = [base64.b64decode(body) for body in order["bodies"]]
            self._client = await connect(order["open"])
            await _make_stream(self._client)
            return {}
        return await self._run(order["seconds"], order["in_flight"])

    async def _run(self, seconds: float, in_flight: int) -> Answer:
        cpu, began = Cpu(), time.perf_counter()
        counts = await asyncio.gather(*(self._work(began + seconds) for _ in range(in_flight)))
        return {"per_s": sum(counts) / (time.perf_counter() - began), "cpu": cpu.share()}

    async def _work(self, until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            await self._batch(f"bench{next(_numbers)}")
            count += 1
        return count

    async def _batch(self, name: str) -> None:
        assert self._client is not None
        *first, last = enumerate(self._bodies, 1)
        for number, body in first:
            headers = {"Nats-Batch-Id": name, "Nats-Batch-Sequence": str(number)}
            await self._client.publish(_SUBJECT, body, headers=headers)
        headers = {"Nats-Batch-Id": name, "Nats-Batch-Sequence": str(last[0]), "Nats-Batch-Commit": "1"}
        answer = await self._client.request(_SUBJECT, last[1], headers=headers, timeout=_CONFIRM_LIMIT_S)
        _must_be_stored(answer.data)


async def _make_stream(client: Client) -> None:
    settings = {
        "name": _STREAM,
        "subjects": [_SUBJECT],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_bytes": _MOST_BYTES,
        "allow_atomic": True,
    }
    request = json.dumps(settings).encode()
    answer = await client.request(f"$JS.API.STREAM.CREATE.{_STREAM}", request, timeout=_CONFIRM_LIMIT_S)
    _must_be_stored(answer.data)


def _must_be_stored(answer: bytes) -> None:
    found = json.loads(answer)
    if "error" in found:
        raise BenchError(f"JetStream refused: {found['error']}")


if __name__ == "__main__":
    serve(Publisher().handle)
