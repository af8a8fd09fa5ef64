"""One connection: which topics it is on, and what the protocol says to each of its messages. It knows no
transport: that hands in frames, and is handed frames to send and a reason to close."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

import msgspec

from crown import logs, safe_json
from crown.auth import Principal
from crown.errors import BusUnavailable, CrownError, InvalidRequest, NotAllowed
from services.realtime import closecodes, topics
from services.realtime.channel import Backend, Channel, Welcome
from services.realtime.closecodes import Close
from services.realtime.handshake import TOKEN_MOST_CHARS
from services.realtime.live import Live, Unreadable
from services.realtime.message import NULL, Frame, Message, Payload, Push, Reply
from services.realtime.room import Subscriber
from services.realtime.serializer import Serializer, UndecodableFrame

log = logs.get(__name__)

CHANNELS_MOST = 100
# A ref goes back as it came, and topic and event into answers: none may be more than anybody needs.
REF_MOST_BYTES = 256
NAME_MOST_CHARS = 4_096
# With it a client brings a newer token, on the topic "phoenix" or on one that it is on.
RENEWAL = "access_token"
# Seconds that a join may take; clients give up after ten.
JOIN_TIMEOUT_S = 5.0
# In Phoenix's own words, which its clients know, with the code and the message that each error here has.
_UNMATCHED: dict[str, Any] = {
    "reason": "unmatched topic",
    "code": 5,
    "message": "there is no such topic, or it is not joined",
}
_TOO_MANY: dict[str, Any] = {
    "reason": "too many channels joined",
    "code": 8,
    "message": f"a socket is on {CHANNELS_MOST} topics at most",
}
_JOIN_CRASHED: dict[str, Any] = {"reason": "join crashed", "code": 13, "message": "internal error"}
_CRASHED: dict[str, Any] = {"reason": "channel_crash", "code": 13, "message": "internal error"}
_NOTHING: dict[str, Any] = {}


class Outlet(Subscriber, Protocol):
    """The transport of a connection."""

    def send(self, frame: Frame) -> None:
        """Sends one message; nothing once the connection is closing."""

    def close(self, why: Close) -> None:
        """Closes the connection."""

    def pause(self) -> None:
        """Reads nothing more until `resume`."""

    def resume(self) -> None:
        """Reads on."""


class Socket:
    """The state of one connection. Messages are handled in the order they came; while a join is under way
    the rest waits."""

    __slots__ = (
        "_backend",
        "_channels",
        "_closed",
        "_joining",
        "_outlet",
        "_serializer",
        "_waiting",
        "principal",
    )

    def __init__(
        self, principal: Principal, serializer: Serializer, outlet: Outlet, backend: Backend
    ) -> None:
        self.principal = principal
        self._serializer = serializer
        self._outlet = outlet
        self._backend = backend
        self._channels: dict[str, Channel] = {}
        self._joining = False
        self._waiting: deque[Message] = deque()
        self._closed = False

    # -- for its channels

    @property
    def subscriber(self) -> Subscriber:
        """See Connection."""
        return self._outlet

    def on(self, channel: Channel) -> bool:
        """See Connection."""
        return self._channels.get(channel.topic) is channel

    def push(self, channel: Channel, event: str, payload: Any) -> None:
        """See Connection."""
        if self.on(channel):
            self._push(channel, NULL, event, payload)

    def dismiss(self, channel: Channel) -> None:
        """See Connection."""
        if self.on(channel):
            self._end(channel)
            self._push(channel, channel.join_ref, "phx_close", _NOTHING)

    # -- for the transport

    def receive(self, frame: str | bytes) -> None:
        """Handles one message of the client, from a text or a binary frame."""
        try:
            message = self._serializer.decode(frame)
        except UndecodableFrame:
            self._outlet.close(closecodes.UNDECODABLE)
            return
        # A frame that is short has nothing long in it.
        if len(frame) > REF_MOST_BYTES and _oversized(message):
            self._outlet.close(closecodes.UNDECODABLE)
        elif self._joining:
            self._waiting.append(message)
        else:
            self._route(message)

    def disconnected(self) -> None:
        """Ends every channel; the connection is gone, or about to be."""
        self._closed = True
        self._waiting.clear()
        for channel in self._channels.values():
            channel.leave()
        self._channels.clear()

    # -- what the protocol says

    def _route(self, message: Message) -> None:
        topic, event = message.topic, message.event
        channel = self._channels.get(topic) if isinstance(topic, str) else None
        try:
            if topic == "phoenix" and event == "heartbeat":
                self._reply(NULL, message, "ok", {})
            elif topic == "phoenix" and event == RENEWAL:
                self._renew(message, NULL)
            elif event == "phx_join":
                self._join(message, channel)
            elif channel is None:
                self._not_joined(message)
            elif not channel.owns(message):
                return  # of an earlier join: no answer
            elif event == "phx_leave":
                self._leave(message, channel)
            elif event == RENEWAL:
                self._renew(message, channel.join_ref)
            else:
                self._hand_over(message, channel)
        except Exception as error:
            log.error("socket_failed", exc_info=error)
            self._outlet.close(closecodes.FAULT)

    def _not_joined(self, message: Message) -> None:
        if message.event == "phx_leave":
            self._reply(message.join_ref, message, "ok", {})
        else:
            self._reply(NULL, message, "error", _UNMATCHED)

    def _leave(self, message: Message, channel: Channel) -> None:
        self._end(channel)
        self._reply(channel.join_ref, message, "ok", {})
        self._push(channel, channel.join_ref, "phx_close", _NOTHING)

    def _hand_over(self, message: Message, channel: Channel) -> None:
        if self.principal.use == "user":
            self._backend.presence.active(self.principal.subject)
        try:
            answer = channel.handle(message.event, _decoded(message.payload))
        except CrownError as error:
            self._reply(channel.join_ref, message, "error", _refusal(error))
        except Exception as error:
            log.error("channel_crashed", topic_kind=type(channel).__name__, exc_info=error)
            self._end(channel)
            self._push(channel, channel.join_ref, "phx_error", _CRASHED)
        else:
            self._reply(channel.join_ref, message, "ok", answer)

    # -- a newer token

    def _renew(self, message: Message, join_ref: msgspec.Raw) -> None:
        try:
            token = _token(_decoded(message.payload))
            found = self._backend.authenticator.at_once(token)
            if found is not None:
                self._become(found)
        except CrownError as error:
            self._reply(join_ref, message, "error", _refusal(error))
            return
        if found is not None:
            self._reply(join_ref, message, "ok", {})
        else:
            # Signed with a key that has to be read first.
            self._backend.spawn(self._renew_later(message, join_ref, token))

    async def _renew_later(self, message: Message, join_ref: msgspec.Raw, token: str) -> None:
        try:
            self._become(await self._backend.authenticator.principal(token))
        except CrownError as error:
            self._reply(join_ref, message, "error", _refusal(error))
        else:
            self._reply(join_ref, message, "ok", {})

    def _become(self, principal: Principal) -> None:
        if (principal.use, principal.subject) != (self.principal.use, self.principal.subject):
            raise NotAllowed("the token is another person's")
        self.principal = principal

    # -- joining

    def _join(self, message: Message, older: Channel | None) -> None:
        found = topics.find(message.topic)
        if found is None:
            self._not_joined(message)
            return
        if older is not None:
            self._end(older)
        if len(self._channels) >= CHANNELS_MOST:
            self._reply(message.join_ref, message, "error", _TOO_MANY)
            return
        kind, topic = found
        channel = kind(message, topic, self, self._backend)
        self._joining = True
        self._outlet.pause()
        self._backend.spawn(self._finish_join(message, channel, older))

    async def _finish_join(self, message: Message, channel: Channel, older: Channel | None) -> None:
        # From the join on nothing may wait: what was missed goes out before anything else of the topic can.
        outcome = await _attempt(channel, message.payload)
        self._joining = False
        if self._closed:
            channel.leave()
            return
        if isinstance(outcome, Welcome):
            self._channels[channel.topic] = channel
            self._reply(message.join_ref, message, "ok", outcome.response)
            self._catch_up(channel, outcome.joined.missed if outcome.joined else [])
            channel.joined()
        else:
            self._reply(message.join_ref, message, "error", outcome)
        if older is not None:
            self._push(older, older.join_ref, "phx_close", _NOTHING)
        while self._waiting and not self._joining:
            self._route(self._waiting.popleft())
        if not self._joining:
            self._outlet.resume()

    def _catch_up(self, channel: Channel, missed: list[Live]) -> None:
        encoding, parts = self._outlet.encoding, []
        for event in missed:
            try:
                parts.append(encoding.encode(channel.topic, event))
            except Unreadable as error:
                log.error("live_event_unreadable", why=str(error))
        if parts:
            self._outlet.deliver(encoding.together(parts))

    def _end(self, channel: Channel) -> None:
        del self._channels[channel.topic]
        channel.leave()

    # -- what goes out

    def _reply(self, join_ref: msgspec.Raw, to: Message, status: str, response: Any) -> None:
        reply = Reply(join_ref, to.ref, to.topic, status, response)
        self._outlet.send(self._serializer.encode(reply))

    def _push(self, channel: Channel, ref: msgspec.Raw, event: str, payload: Any) -> None:
        push = Push(channel.join_ref, ref, channel.topic, event, payload)
        self._outlet.send(self._serializer.encode(push))


def _token(payload: object) -> str:
    token = payload.get(RENEWAL) if isinstance(payload, dict) else None
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_MOST_CHARS:
        raise InvalidRequest(f"access_token must be a token of at most {TOKEN_MOST_CHARS} characters")
    return token


def _oversized(message: Message) -> bool:
    if len(bytes(message.ref)) > REF_MOST_BYTES or len(bytes(message.join_ref)) > REF_MOST_BYTES:
        return True
    names = (message.topic, message.event)
    return any(isinstance(name, str) and len(name) > NAME_MOST_CHARS for name in names)


def _decoded(payload: Payload) -> Any:
    """What a client sent along; bytes of a binary frame as they are. Raises InvalidRequest."""
    return payload if isinstance(payload, bytes) else safe_json.decode(payload)


async def _attempt(channel: Channel, payload: Payload) -> Welcome | dict[str, Any]:
    """The welcome, or why not."""
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            return await channel.join(_decoded(payload))
    except CrownError as error:
        return _refusal(error)
    except TimeoutError:
        return _refusal(BusUnavailable("the bus does not answer; try again"))
    except Exception as error:
        log.error("join_crashed", topic_kind=type(channel).__name__, exc_info=error)
        return _JOIN_CRASHED


def _refusal(error: CrownError) -> dict[str, Any]:
    """The one shape of an error: the stable reason, the gRPC code, words for people."""
    return {"reason": error.reason, "code": error.code.value[0], "message": error.message}
