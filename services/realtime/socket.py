"""One connection: which topics it is on, and what the protocol says to each of its messages. It knows no
transport: that hands in text, and is handed bytes to send and a reason to close."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from crown import logs
from crown.auth import Principal
from crown.errors import BusUnavailable, CrownError
from services.realtime import closecodes, topics
from services.realtime.channel import Channel
from services.realtime.closecodes import Close
from services.realtime.hub import Hub, Subscriber
from services.realtime.message import EMPTY, NULL, Message, Reply
from services.realtime.serializer import Serializer, UndecodableFrame

log = logs.get(__name__)

CHANNELS_MOST = 100
# Seconds that a join may take; clients give up after ten.
JOIN_TIMEOUT_S = 5.0
_CRASHED = msgspec.Raw(b'{"reason":"channel_crash"}')

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Outlet(Subscriber, Protocol):
    """The transport of a connection."""

    def send(self, frame: bytes) -> None:
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
        "_channels",
        "_closed",
        "_hub",
        "_joining",
        "_outlet",
        "_serializer",
        "_spawn",
        "_waiting",
        "principal",
    )

    def __init__(
        self, principal: Principal, serializer: Serializer, hub: Hub, outlet: Outlet, spawn: Spawn
    ) -> None:
        self.principal = principal
        self._serializer = serializer
        self._hub = hub
        self._outlet = outlet
        self._spawn = spawn
        self._channels: dict[str, Channel] = {}
        self._joining = False
        self._waiting: deque[Message] = deque()
        self._closed = False

    def receive(self, text: str) -> None:
        """Handles one message of the client."""
        try:
            message = self._serializer.decode(text)
        except UndecodableFrame:
            self._outlet.close(closecodes.UNDECODABLE)
            return
        if self._joining:
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
            elif event == "phx_join":
                self._join(message, channel)
            elif channel is None:
                self._not_joined(message)
            elif not channel.owns(message):
                return  # of an earlier join: no answer
            elif event == "phx_leave":
                self._leave(message, channel)
            else:
                self._hand_over(message, channel)
        except Exception as error:
            log.error("socket_failed", exc_info=error)
            self._outlet.close(closecodes.FAULT)

    def _not_joined(self, message: Message) -> None:
        if message.event == "phx_leave":
            self._reply(message.join_ref, message, "ok", {})
        else:
            self._reply(NULL, message, "error", {"reason": "unmatched topic"})

    def _leave(self, message: Message, channel: Channel) -> None:
        self._end(channel)
        self._reply(channel.join_ref, message, "ok", {})
        self._push(channel, "phx_close", EMPTY)

    def _hand_over(self, message: Message, channel: Channel) -> None:
        try:
            answer = channel.handle(message.event, message.payload)
        except CrownError as error:
            self._reply(channel.join_ref, message, "error", _refusal(error))
        except Exception as error:
            log.error("channel_crashed", topic_kind=type(channel).__name__, exc_info=error)
            self._end(channel)
            self._push(channel, "phx_error", _CRASHED)
        else:
            self._reply(channel.join_ref, message, "ok", answer)

    # -- joining

    def _join(self, message: Message, older: Channel | None) -> None:
        kind = topics.find(message.topic)
        if kind is None:
            self._not_joined(message)
            return
        if older is not None:
            self._end(older)
        if len(self._channels) >= CHANNELS_MOST:
            self._reply(message.join_ref, message, "error", {"reason": "too many channels joined"})
            return
        channel = kind(message, self.principal, self._hub, self._outlet)
        self._joining = True
        self._outlet.pause()
        self._spawn(self._finish_join(message, channel, older))

    async def _finish_join(self, message: Message, channel: Channel, older: Channel | None) -> None:
        status, answer = await _attempt(channel, message.payload)
        self._joining = False
        if self._closed:
            channel.leave()
            return
        if status == "ok":
            self._channels[channel.topic] = channel
        self._reply(message.join_ref, message, status, answer)
        if older is not None:
            self._push(older, "phx_close", EMPTY)
        while self._waiting and not self._joining:
            self._route(self._waiting.popleft())
        if not self._joining:
            self._outlet.resume()

    def _end(self, channel: Channel) -> None:
        del self._channels[channel.topic]
        channel.leave()

    # -- what goes out

    def _reply(self, join_ref: msgspec.Raw, to: Message, status: str, response: dict[str, Any]) -> None:
        reply = Reply(join_ref, to.ref, to.topic, status, response)
        self._outlet.send(self._serializer.encode(reply))

    def _push(self, channel: Channel, event: str, payload: msgspec.Raw) -> None:
        push = Message(channel.join_ref, channel.join_ref, channel.topic, event, payload)
        self._outlet.send(self._serializer.encode(push))


async def _attempt(channel: Channel, payload: msgspec.Raw) -> tuple[str, dict[str, Any]]:
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            return "ok", await channel.join(payload)
    except CrownError as error:
        return "error", _refusal(error)
    except TimeoutError:
        return "error", _refusal(BusUnavailable("the bus does not answer; try again"))
    except Exception as error:
        log.error("join_crashed", topic_kind=type(channel).__name__, exc_info=error)
        return "error", {"reason": "join crashed"}


def _refusal(error: CrownError) -> dict[str, Any]:
    """The one shape of an error: the stable reason, the gRPC code, words for people."""
    return {"reason": error.reason, "code": error.code.value[0], "message": error.message}
