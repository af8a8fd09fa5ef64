"""A load generator for unary RPCs, in a process of its own: so many in flight for so long. It sends bytes that
were made before and decodes no answer, and so costs the same whoever answers."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Protocol

import grpc

from bench.child import Answer, Cpu, serve
from bench.latency import Latencies
from crown import tls

_CALL_LIMIT_S = 15.0


class _Call(Protocol):
    def __call__(
        self, request: bytes, *, timeout: float, metadata: tuple[tuple[str, str], ...]
    ) -> Awaitable[bytes]: ...


class _Load:
    """One run. Calls that begin or end outside its window are made and not counted."""

    def __init__(self, call: _Call, order: Answer) -> None:
        self._call = call
        self._body = base64.b64decode(order["body"])
        self._metadata = tuple((name, value) for name, value in order["metadata"])
        self._keyed = bool(order.get("keyed"))
        self._from = time.perf_counter() + order["warm_s"]
        self._until = self._from + order["seconds"]
        self.made = 0
        self.taken_s: list[float] = []
        self.failed: Counter[str] = Counter()

    async def work(self) -> None:
        """One of those in flight."""
        while (began := time.perf_counter()) < self._until:
            self.made += 1
            try:
                await self._call(self._body, timeout=_CALL_LIMIT_S, metadata=self._headers())
            except grpc.aio.AioRpcError as error:
                self.failed[error.code().name] += 1
                continue
            ended = time.perf_counter()
            if self._from <= ended < self._until:
                self.taken_s.append(ended - began)

    def _headers(self) -> tuple[tuple[str, str], ...]:
        return (
            (*self._metadata, ("idempotency-key", f"{id(self)}-{self.made}"))
            if self._keyed
            else self._metadata
        )


class Generator:
    """Keeps a channel to each target, so that only its first run pays for connecting."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def handle(self, order: Answer) -> Answer:
        """Runs `in_flight` calls of `method` at a time for `seconds`, after `warm_s` that do not count; by TLS
        where `shown` is the folder of a certificate."""
        channel = self._channel(order["target"], order.get("shown", ""))
        call: _Call = channel.unary_unary(order["method"])
        load = _Load(call, order)
        cpu = Cpu()
        await asyncio.gather(*(load.work() for _ in range(order["in_flight"])))
        return {
            "per_s": len(load.taken_s) / order["seconds"],
            "made": load.made,
            "failed": dict(load.failed),
            "latencies": Latencies.of(load.taken_s).text(),
            "cpu": cpu.share(),
        }

    def _channel(self, target: str, shown: str) -> grpc.aio.Channel:
        if target not in self._channels:
            identity = tls.identity_in(shown) if shown else None
            self._channels[target] = tls.Link(target, identity, "ingest-api").channel()
        return self._channels[target]


if __name__ == "__main__":
    serve(Generator().handle)
