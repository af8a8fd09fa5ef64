"""What operators who watch `ops:metrics` get: once a second, how the whole suite is. While one of them is on this
node, it asks every process, sums up what they answer, and tells those here; while none is, it is quiet."""

from __future__ import annotations

import asyncio
import time

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from crown import logs, subjects, vitals
from crown.bus import Bus
from services.realtime.hub import Hub
from services.realtime.ops_channel import METRICS
from services.realtime.rates import Rates

log = logs.get(__name__)

PERIOD_S = 1.0


class Vitals:
    """The watch of the node `node`."""

    def __init__(self, node: str, bus: Bus, hub: Hub, period_s: float = PERIOD_S) -> None:
        self._node = node
        self._bus = bus
        self._hub = hub
        self._period_s = period_s
        self._rates = Rates()
        self._hearing: Subscription | None = None

    async def tell(self) -> None:
        """Tells until it is cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            try:
                await self._look()
            except nats.errors.Error as error:
                # Nobody hears anything meanwhile, and says so.
                log.debug("vitals_untold", error=type(error).__name__)

    async def _look(self) -> None:
        if not self._hub.occupied(METRICS):
            await self._rest()
            return
        if self._hearing is None:
            self._hearing = await self._bus.client.subscribe(subjects.VITALS_TOLD, cb=self._hear)
        if not self._bus.connected:
            return
        await self._bus.client.publish(subjects.VITALS_ASKED)
        summed = self._rates.sum(time.monotonic())
        if summed["processes"]:
            self._hub.tell_here(METRICS, "metrics", {"node": self._node, "time": time.time(), **summed})

    async def _rest(self) -> None:
        self._rates.clear()
        if self._hearing is not None:
            hearing, self._hearing = self._hearing, None
            await hearing.unsubscribe()

    async def _hear(self, message: Msg) -> None:
        # Runs in the subscription's task, which an exception would not end, but nobody would learn of it either.
        try:
            self._rates.take(vitals.read(message.data), time.monotonic())
        except msgspec.DecodeError as error:
            log.warning("vitals_unreadable", error=type(error).__name__)
