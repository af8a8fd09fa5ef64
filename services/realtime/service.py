"""RealtimeService: the live events of a person for programs and for browsers without a socket, events from
programs, who is connected, and the end of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from google.api.httpbody_pb2 import HttpBody

from crown import auth, logs, subjects, vault
from crown.bus import Bus, Outgoing
from crown.door import Check, Context
from crown.errors import CrownError
from crown.live_position import Position
from crown.notification.v1 import events_pb2
from crown.notification.v1.realtime_service_pb2 import (
    DisconnectRequest,
    DisconnectResponse,
    GetPresenceRequest,
    GetPresenceResponse,
    PublishRequest,
    PublishResponse,
    RevokeTokensRequest,
    RevokeTokensResponse,
    StreamRequest,
    SubscribeRequest,
    SubscribeResponse,
)
from services.realtime import publish, sse, whereabouts
from services.realtime.hub import Hub, Joined
from services.realtime.stream import Backlog, Responses, Streams
from services.realtime.whereabouts import Whereabouts

log = logs.get(__name__)

JOINED = "joined"
# How proxies have to treat a stream of events.
_PAGE_HEADERS = (("cache-control", "no-store"), ("x-accel-buffering", "no"))


class RealtimeService:
    """The servicer."""

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        data_key: vault.Key,
        known: Whereabouts,
        beat_s: float = sse.BEAT_S,
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._key = data_key
        self._known = known
        self._beat_s = beat_s
        self._responses = Responses()
        self._frames = sse.Frames()
        self.streams = Streams(hub)

    async def Subscribe(
        self, request: SubscribeRequest, context: Context
    ) -> AsyncGenerator[SubscribeResponse, None]:
        """See the proto. The first metadata says that what comes from now on will be seen."""
        since = Position(request.since, request.epoch) if request.epoch else None
        async with self.streams.opened(request.user_id, self._responses, since) as (joined, stream):
            await context.send_initial_metadata(())
            if since is not None:
                yield _joined(joined)
            while True:
                for response in await stream.read():
                    yield response

    async def Stream(self, request: StreamRequest, context: Context) -> AsyncGenerator[HttpBody, None]:
        """See the proto. It begins before the topic is joined: an EventSource comes back after an event that
        says why there is nothing, and not after an answer that is an error."""
        metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        since = sse.position(metadata.get("last-event-id") or request.last_event_id)
        await context.send_initial_metadata(_PAGE_HEADERS)
        yield _body(sse.RETRY)
        try:
            async with self.streams.opened(request.user_id, self._frames, since) as (joined, stream):
                yield _body(_joined_frame(joined))
                while True:
                    for chunk in await self._chunks(stream):
                        yield _body(chunk)
        except CrownError as error:
            yield _body(sse.failure(error, metadata.get("x-request-id", "")))

    async def _chunks(self, stream: Backlog[bytes]) -> list[bytes]:
        try:
            async with asyncio.timeout(self._beat_s):
                return list(sse.chunks(await stream.read()))
        except TimeoutError:
            return [sse.BEAT]

    def checks(self) -> dict[str, Check]:
        """What the rules in the proto cannot say."""
        return {"Publish": publish.broken}

    async def Publish(self, request: PublishRequest, context: Context) -> PublishResponse:
        """See the proto."""
        del context
        if request.ephemeral:
            await self._hub.publish_ephemeral(publish.topic(request), request.event, publish.payload(request))
            return PublishResponse()
        stored = await self._bus.publish(publish.numbered(request, self._key))
        return PublishResponse(offset=stored.seq)

    async def GetPresence(self, request: GetPresenceRequest, context: Context) -> GetPresenceResponse:
        """See the proto."""
        del context
        return await whereabouts.answer(self._known, request)

    async def Disconnect(self, request: DisconnectRequest, context: Context) -> DisconnectResponse:
        """See the proto. The nodes hear it from the bus, this one too."""
        del context
        event = events_pb2.DisconnectEvent(user_id=request.user_id, session_id=request.session_id)
        subject = subjects.closed(request.user_id, request.session_id)
        if not request.keep_tokens:
            event.revoke_time.GetCurrentTime()
            subject = subjects.revoked(request.user_id, request.session_id)
        await self._bus.publish(Outgoing(subject, event.SerializeToString()))
        return DisconnectResponse()

    async def RevokeTokens(self, request: RevokeTokensRequest, context: Context) -> RevokeTokensResponse:
        """See the proto. Every process hears it from the bus, this one too."""
        del context
        event = events_pb2.DisconnectEvent(service_id=request.service_id, operator_id=request.operator_id)
        event.revoke_time.GetCurrentTime()
        use, subject = (
            ("service", request.service_id) if request.service_id else ("operator", request.operator_id)
        )
        await self._bus.publish(Outgoing(subjects.revoked_caller(use, subject), event.SerializeToString()))
        log.warning("tokens_revoked", use=use, whose=subject, by=auth.caller().subject)
        return RevokeTokensResponse()

    def drain(self) -> None:
        """Ends every stream, so that its reader goes to another node."""
        self.streams.drain()


def _joined(joined: Joined) -> SubscribeResponse:
    position = joined.position
    return SubscribeResponse(
        offset=position.offset, epoch=position.epoch, event=JOINED, recovered=joined.recovered
    )


def _joined_frame(joined: Joined) -> bytes:
    position = joined.position
    payload = {"recovered": joined.recovered, "offset": position.offset, "epoch": position.epoch}
    return sse.frame(JOINED, payload, position)


def _body(text: bytes) -> HttpBody:
    return HttpBody(content_type=sse.CONTENT_TYPE, data=text)
