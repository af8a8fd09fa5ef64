"""`user:<id>`: what one person gets, on each of their devices. Nobody else may listen."""

from __future__ import annotations

from typing import Any

from crown.errors import NotAllowed
from services.realtime import address
from services.realtime.channel import Channel, Welcome, since_of, standing


class UserChannel(Channel):
    """One tab of a person."""

    __slots__ = ()

    KINDS = ("user",)

    async def join(self, payload: Any) -> Welcome:
        """Answers where the topic stands. With the position that an earlier answer or event gave, everything
        since then follows; otherwise what came before is in the inbox."""
        who = self._connection.principal
        if who.use != "user" or who.subject != self.name:
            raise NotAllowed("this topic is another person's")
        joined = await self._backend.hub.join(
            address.of(self.address_topic), self._connection.subscriber, since_of(payload), name=self.topic
        )
        if joined.missed or not joined.recovered:
            self._backend.counts.changed(self.address_topic)
        return Welcome(standing(joined), joined)
