"""`ops:metrics`: how the whole suite is, once a second, for operators. What the console shows."""

from __future__ import annotations

from typing import Any

from services.realtime import address
from services.realtime.channel import Channel, Welcome, standing

METRICS = "ops:metrics"


class OpsChannel(Channel):
    """One operator who watches."""

    __slots__ = ()

    KINDS = ("ops",)

    async def enter(self, payload: Any) -> Welcome:
        """The event `metrics` comes once a second, see services/realtime/vitals.py."""
        del payload
        joined = await self._backend.hub.join(
            address.of(self.address_topic), self._connection.subscriber, name=self.topic
        )
        return Welcome(standing(joined), joined)
