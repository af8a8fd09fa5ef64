"""RealtimeService: the live events of a person for programs, and events from programs for a person."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from crown import subjects, vault
from crown.bus import Bus, Outgoing
from crown.door import Check, Context
from crown.errors import BusUnavailable, CrownError, NotReady, Violation
from crown.notification.v1 import events_pb2, realtime_service_pb2
from services.realtime import address
from services.realtime.hub import Hub
from services.realtime.live import Event, Resync, plain

PAYLOAD_MOST_BYTES = 16 << 10
# Most events that wait for a program that does not read.
WAITING_MOST = 1_000


class Events:
    """Events as they are: each stream makes its own messages of them."""

    def encode(self, topic: str, event: Event) -> list[Event]:
        """See Encoding."""
        del topic
        return [event]

    def together(self, parts: list[list[Event]]) -> list[Event]:
        """See Encoding."""
        return [event for part in parts for event in part]


_EVENTS = Events()


class Stream:
    """What waits for one Subscribe call."""

    def __init__(self) -> None:
        self.encoding = _EVENTS
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._over: CrownError | None = None

    def deliver(self, events: list[Event]) -> None:
        """See Subscriber."""
        if self._over is not None:
            return
        self._waiting.extend(events)
        self._wake.set()
        if len(self._waiting) > WAITING_MOST:
            self._waiting.clear()
            self.end(NotReady("the stream is read too slowly; subscribe again"))

    def end(self, why: CrownError) -> None:
        """Ends the stream with an error."""
        self._over = self._over or why
        self._wake.set()

    async def read(self) -> realtime_service_pb2.SubscribeResponse:
        """The next message. Raises CrownError once it is over; Unreadable."""
        while self._over is None:
            if self._waiting:
                event = self._waiting.popleft()
                if isinstance(event, Resync):
                    raise BusUnavailable("the bus was away and events may be missing; subscribe again")
                return event.response()
            self._wake.clear()
            await self._wake.wait()
        raise self._over


class RealtimeService:
    """The servicer."""

    def __init__(self, hub: Hub, bus: Bus, data_key: vault.Key) -> None:
        self._hub = hub
        self._bus = bus
        self._key = data_key
        self._streams: set[Stream] = set()

    async def Subscribe(
        self, request: realtime_service_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[realtime_service_pb2.SubscribeResponse]:
        """See the proto. The first metadata says that what comes from now on will be seen."""
        stream = Stream()
        where = address.user(request.user_id)
        await self._hub.join(where, stream)
        self._streams.add(stream)
        try:
            await context.send_initial_metadata(())
            while True:
                yield await stream.read()
        finally:
            self._streams.discard(stream)
            self._hub.leave(where.topic, stream)

    def checks(self) -> dict[str, Check]:
        """What the rules in the proto cannot say."""
        return {"Publish": _broken_payload}

    async def Publish(
        self, request: realtime_service_pb2.PublishRequest, context: Context
    ) -> realtime_service_pb2.PublishResponse:
        """See the proto."""
        del context
        event = events_pb2.LiveEvent(user_id=request.user_id, event=request.event)
        event.content.CopyFrom(vault.seal(self._key, _payload(request)))
        message = Outgoing(
            subjects.live_source(subjects.user_topic(request.user_id)), event.SerializeToString()
        )
        return realtime_service_pb2.PublishResponse(offset=(await self._bus.publish(message)).seq)

    def drain(self) -> None:
        """Ends every stream, so that its reader goes to another node."""
        for stream in self._streams:
            stream.end(NotReady("this node is going down; subscribe again"))


def _payload(request: realtime_service_pb2.PublishRequest) -> bytes:
    return msgspec.json.encode(plain(request.payload))


def _broken_payload(request: realtime_service_pb2.PublishRequest) -> list[Violation]:
    try:
        size = len(_payload(request))
    except ValueError:
        return [Violation("payload", "must hold finite numbers only", "number.finite")]
    if size > PAYLOAD_MOST_BYTES:
        return [Violation("payload", f"must be at most {PAYLOAD_MOST_BYTES} bytes of JSON", "bytes.max_len")]
    return []
