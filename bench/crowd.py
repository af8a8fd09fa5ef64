"""The crowd of bench/sockets.py as a process of its own, and a bare subscriber of NATS in its place."""

from __future__ import annotations

import asyncio
import time

from nats.aio.msg import Msg

from bench.child import Answer, BenchError, Cpu, serve
from bench.intake import connect
from bench.latency import Latencies
from bench.sockets import Crowd, Member, since

BARE = "bench.crowd"
_ARRIVAL_LIMIT_S = 15.0


class Audience:
    """Listens, and tells how long everything took."""

    def __init__(self) -> None:
        self._crowd: Crowd | None = None
        self._beating: asyncio.Task[None] | None = None
        self._heard_s: list[float] = []
        self._cpu = Cpu()

    async def handle(self, order: Answer) -> Answer:
        """`enter` connects all; `begin` forgets what was heard before; `end` waits for `count` messages."""
        if "enter" in order:
            return await self._enter(order["enter"])
        if "begin" in order:
            self._taken().clear()
            self._heard_s.clear()
            self._cpu = Cpu()
            return {}
        return await self._end(self._taken() if order["end"] == "frames" else self._heard_s, order["count"])

    async def _enter(self, order: Answer) -> Answer:
        self._crowd = Crowd(order["url"])
        await self._crowd.enter([Member(token, topic) for token, topic in order["members"]])
        self._beating = asyncio.create_task(self._crowd.beat())
        client = await connect(order["nats"])
        await client.subscribe(f"{BARE}.*", cb=self._hear)
        await client.flush()
        return {}

    async def _end(self, taken_s: list[float], count: int) -> Answer:
        cpu, limit = self._cpu.share(), time.monotonic() + _ARRIVAL_LIMIT_S
        while len(taken_s) < count:
            if time.monotonic() > limit:
                raise BenchError(f"{len(taken_s):,} of {count:,} arrived")
            await asyncio.sleep(0.05)
        assert self._crowd is not None
        tally = self._crowd.tally
        if tally.out_of_order or tally.closed or len(taken_s) > count:
            raise BenchError(f"{tally.out_of_order} twice or out of order, {tally.closed} sockets closed")
        return {"latencies": Latencies.of(taken_s).text(), "cpu": cpu}

    def _taken(self) -> list[float]:
        assert self._crowd is not None
        return self._crowd.tally.delays_s

    async def _hear(self, message: Msg) -> None:
        self._heard_s.append(since(message.data))


if __name__ == "__main__":
    serve(Audience().handle)
