"""A channel: one connection on one topic, from join to leave. What a topic allows stands in topics.py."""

from __future__ import annotations

from typing import Any

import msgspec

from crown.auth import Principal
from crown.errors import InvalidRequest
from services.realtime.hub import Hub, Subscriber
from services.realtime.message import NULL, Message

_NULL = bytes(NULL)


class Channel:
    """Behaviour of a topic; subclasses say who may join and what clients may do there."""

    __slots__ = ("_expected", "_hub", "_principal", "_subscriber", "join_ref", "topic")

    def __init__(self, join: Message, principal: Principal, hub: Hub, subscriber: Subscriber) -> None:
        self.topic: str = join.topic
        self._principal = principal
        self._hub = hub
        self._subscriber = subscriber
        self._expected = bytes(join.join_ref)
        # What messages of this channel carry. Copied, since a decoded part keeps its whole frame alive.
        self.join_ref = msgspec.Raw(bytes(join.ref) if self._expected == _NULL else self._expected)

    def owns(self, message: Message) -> bool:
        """False where `message` belongs to an earlier join of the topic."""
        said = bytes(message.join_ref)
        return said in (_NULL, self._expected)

    async def join(self, payload: msgspec.Raw) -> dict[str, Any]:
        """Lets the connection in and answers what it is told. Raises CrownError to refuse."""
        raise NotImplementedError

    def handle(self, event: object, payload: msgspec.Raw) -> dict[str, Any]:
        """Works on a client's message and answers it. Raises CrownError to refuse; any other exception ends
        the channel."""
        del payload
        raise InvalidRequest(f"the topic takes no such event from clients: {str(event)[:64]}")

    def leave(self) -> None:
        """Ends it; harmless where it never began."""
        self._hub.leave(self.topic, self._subscriber)
