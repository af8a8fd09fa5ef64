"""The janitor: streams keep what was settled until somebody purges it, and this is who. Storage follows the
backlog."""

from __future__ import annotations

import asyncio

from crown import backtrace, logs, subjects
from crown.bus import Bus, BusError
from crown.errors import CrownError
from crown.stopping import pause

log = logs.get(__name__)

_PERIOD_S = 5.0
# A purge of very many at once makes publishers wait for it.
_STEP = 5_000


class Janitor:
    """Purges, every few seconds, what the one consumer of each subject has settled."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        while not stopping.is_set():
            await pause(stopping, _PERIOD_S)
            for consumer in subjects.readers():
                try:
                    await self._purge(consumer, stopping)
                except (BusError, CrownError) as error:
                    log.warning("purge_failed", consumer=consumer.name, error=backtrace.word(error))

    async def _purge(self, consumer: subjects.Consumer, stopping: asyncio.Event) -> None:
        try:
            info = await self._bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
        except BusError as error:
            if error.err_code == 10014:  # its service has not started yet
                return
            raise
        settled = info["ack_floor"]["stream_seq"]
        first = await self._first(consumer)
        while first and first <= settled and not stopping.is_set():
            upto = min(first + _STEP, settled + 1)
            await self._bus.api(f"STREAM.PURGE.{consumer.stream}", {"filter": consumer.subject, "seq": upto})
            first = upto

    async def _first(self, consumer: subjects.Consumer) -> int:
        """The sequence of the first message of the consumer's subject; 0 where there is none."""
        try:
            request = {"seq": 1, "next_by_subj": consumer.subject}
            found = await self._bus.api(f"STREAM.MSG.GET.{consumer.stream}", request)
        except BusError as error:
            if error.err_code == 10037:  # no such message
                return 0
            raise
        return int(found["message"]["seq"])
