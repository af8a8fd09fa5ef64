"""`ops:metrics`: how the whole suite is, once a second, for operators. What the console shows."""

from __future__ import annotations

from typing import Any

from crown.errors import NotAllowed
from services.realtime import address
from services.realtime.channel import Channel, Welcome, standing

METRICS = "ops:metrics"


class OpsChannel(Channel):
    """One operator who watches."""

    __slots__ = ()

    KINDS = ("ops",)

    async def join(self, payload: Any) -> Welcome:
        """Lets operators in. The event `metrics` comes once a second, see services/realtime/vitals.py."""
        del payload
        if self._connection.principal.use != "operator":
            raise NotAllowed("this topic is for operators")
        if self.address_topic != METRICS:
            raise NotAllowed(f"there is {METRICS} and no other")
        joined = await self._backend.hub.join(
            address.of(self.address_topic), self._connection.subscriber, name=self.topic
        )
        return Welcome(standing(joined), joined)
