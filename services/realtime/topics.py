"""The topics there are, and who may join each."""

from __future__ import annotations

from typing import Any

import msgspec

from crown.errors import NotAllowed
from services.realtime import address
from services.realtime.channel import Channel


class UserChannel(Channel):
    """`user:<id>`: what one person gets, on each of their devices. Nobody else may listen."""

    __slots__ = ()

    async def join(self, payload: msgspec.Raw) -> dict[str, Any]:
        """Answers where the topic stands. What came before is not sent again: the inbox has it."""
        del payload
        user_id = self.topic.partition(":")[2]
        if self._principal.use != "user" or self._principal.subject != user_id:
            raise NotAllowed("this topic is another person's")
        position = await self._hub.join(address.user(user_id), self._subscriber)
        return {"recovered": False, "offset": position.offset, "epoch": position.epoch}


_PATTERNS: tuple[tuple[str, type[Channel]], ...] = (("user:", UserChannel),)


def find(topic: object) -> type[Channel] | None:
    """The kind of channel that `topic` has; None where there is no such topic."""
    if not isinstance(topic, str):
        return None
    return next((kind for prefix, kind in _PATTERNS if topic.startswith(prefix)), None)
