"""What a realtime process says of itself to operators who watch `ops:metrics`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crown import logs
from crown.errors import CrownError
from services.realtime.hub import Hub
from services.realtime.ops_channel import METRICS

log = logs.get(__name__)

PERIOD_S = 2.0


class Vitals:
    """Tells how the process `node` is; `sockets` says how many are open."""

    def __init__(self, node: str, hub: Hub, sockets: Callable[[], int]) -> None:
        self._node = node
        self._hub = hub
        self._sockets = sockets
        self._began = time.time()

    async def tell(self) -> None:
        """Tells until it is cancelled. Nobody may be listening: then it costs a message."""
        while True:
            slept = asyncio.get_running_loop().time()
            await asyncio.sleep(PERIOD_S)
            late_s = asyncio.get_running_loop().time() - slept - PERIOD_S
            try:
                await self._hub.publish_ephemeral(METRICS, "metrics", self.read(late_s))
            except CrownError as error:
                log.debug("vitals_untold", reason=error.reason)

    def read(self, late_s: float = 0.0) -> dict[str, Any]:
        """The numbers; `late_s` is how long the loop kept a timer waiting."""
        return {
            "node": self._node,
            "sockets": self._sockets(),
            "topics": len(self._hub),
            "memory_bytes": _memory_bytes(),
            "loop_late_ms": round(late_s * 1000, 1),
            "start_time": int(self._began),
        }


def _memory_bytes() -> int:
    """What the process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
