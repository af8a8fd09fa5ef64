"""`user:<id>`: what one person gets, on each of their devices."""

from __future__ import annotations

from typing import Any

from services.realtime import address
from services.realtime.channel import Channel, Welcome, since_of, standing


class UserChannel(Channel):
    """One tab of a person."""

    __slots__ = ()

    KINDS = ("user",)

    async def enter(self, payload: Any) -> Welcome:
        """Answers where the topic stands. With the position that an earlier answer or event gave, everything
        since then follows; otherwise what came before is in the inbox."""
        joined = await self._backend.hub.join(
            address.of(self.address_topic), self._connection.subscriber, since_of(payload), name=self.topic
        )
        if joined.missed or not joined.recovered:
            self._backend.counts.changed(self.address_topic)
        return Welcome(standing(joined), joined)
