"""Where live events stand: the offset, a place in the sequence of all of them, and the epoch, which names that
sequence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from crown import logs, subjects
from crown.bus import Bus, BusError
from crown.errors import CrownError
from crown.gather import Gather

log = logs.get(__name__)

# One look is for all who wait.
_CALLERS_MOST = 100_000
# Seconds that an answer waits for its position: it is worth more than the position.
_LIMIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a sequence. An offset says something only within its epoch."""

    offset: int
    epoch: str


NOWHERE = Position(0, "")


class LivePosition:
    """Says where live events stand. One look answers all who ask at about the same time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._look: Gather[None, Position] = Gather(self._looked, _CALLERS_MOST)

    async def read(self) -> Position:
        """The end of the sequence at a moment after this call: what was told before is not behind it. NOWHERE
        where the bus does not say so within half a second."""
        if not self._bus.connected:
            return NOWHERE
        try:
            async with asyncio.timeout(_LIMIT_S):
                return await self._look(None)
        except (CrownError, BusError, TimeoutError) as error:
            log.warning("live_position_unread", error=type(error).__name__)
            return NOWHERE

    async def _looked(self, callers: list[None]) -> Sequence[Position]:
        reconnects = self._bus.client.stats["reconnects"]
        async with asyncio.timeout(_LIMIT_S):
            found = await self._bus.api(f"STREAM.INFO.{subjects.REALTIME}")
        if self._bus.client.stats["reconnects"] != reconnects:
            # Nobody can say of which run of the server this is.
            return [NOWHERE] * len(callers)
        replicas = int(found["config"].get("num_replicas", 1))
        name = epoch(found["created"], self._bus.server_id, replicas)
        return [Position(int(found["state"]["last_seq"]), name)] * len(callers)


def epoch(created: str, server_id: str, replicas: int) -> str:
    """Names a sequence that never takes a number twice. A single server that lost power may hand out numbers
    again under the same stream, so each of its runs is an epoch; replicas outlive the run of one."""
    run = server_id if replicas == 1 else ""
    return blake2b(f"{created} {run}".encode(), digest_size=6).hexdigest()
