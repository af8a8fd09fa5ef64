"""Brings in clients and holds them, in a process of its own."""

from __future__ import annotations

import time

from bench.child import Answer, Cpu, serve
from bench.entrance import Entrance
from bench.visitors import guests

_ABREAST = 128


class Load:
    """The child."""

    def __init__(self) -> None:
        self._entrance: Entrance | None = None

    async def handle(self, order: Answer) -> Answer:
        """`enter` brings all in; what is asked before is made ready first."""
        if "enter" not in order:
            return {}
        entrance = self._entrance = Entrance((order["host"], order["port"]), _ABREAST)
        waiting = guests(f"{order['host']}:{order['port']}", order["enter"])
        cpu, began = Cpu(), time.perf_counter()
        entrance.enter(waiting, order["limit_s"])
        return {"seconds": time.perf_counter() - began, "cpu": cpu.share()}


if __name__ == "__main__":
    serve(Load().handle)
