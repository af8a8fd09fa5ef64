"""The wire protocol, by version: messages to frames and back. Phoenix's V2 is an array of five, and has binary
frames; V1 is an object, and has none."""

from __future__ import annotations

import re
from typing import Any, Protocol

import msgspec

from services.realtime import binary
from services.realtime.message import NULL, Broadcast, Frame, Message, Push, Reply


class UndecodableFrame(Exception):
    """The frame is no message of this protocol."""


class Serializer(Protocol):
    """One version of the protocol. Where a binary payload cannot travel in binary, it is sent as JSON:
    `{"base64": "…"}`."""

    def decode(self, frame: str | bytes) -> Message:
        """The message in a text or a binary frame. Raises UndecodableFrame."""

    def encode(self, message: Push | Reply) -> Frame:
        """`message` for the one connection that it is for."""

    def fastlane(self, broadcast: Broadcast) -> Frame:
        """`broadcast`, encoded once for every connection that speaks this version."""


class _Text(Message, frozen=True, gc=False):
    """A message in a text frame. Its payload is JSON and stays it, also where it could be base64."""

    payload: msgspec.Raw


class V2:
    """`[join_ref, ref, topic, event, payload]`. More elements are ignored, fewer are an error. The decoder
    takes strict JSON only, reads payloads no further than their end, and gives up on deep nesting."""

    def __init__(self, sends_binary: bool = True) -> None:
        self._sends_binary = sends_binary
        self._decoder = msgspec.json.Decoder(_Text)
        self._encoder = msgspec.json.Encoder()

    def decode(self, frame: str | bytes) -> Message:
        """See Serializer."""
        try:
            return binary.decode(frame) if isinstance(frame, bytes) else self._decoder.decode(frame)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise UndecodableFrame(type(error).__name__) from None

    def encode(self, message: Push | Reply) -> Frame:
        """See Serializer."""
        if isinstance(message, Push):
            if isinstance(message.payload, bytes):
                return self._binary(message, message.payload)
            return Frame(self._encoder.encode(message))
        response = message.response
        if isinstance(response, bytes):
            return self._binary(message, response)
        answer = {"status": message.status, "response": response}
        whole = (message.join_ref, message.ref, message.topic, "phx_reply", answer)
        return Frame(self._encoder.encode(whole))

    def fastlane(self, broadcast: Broadcast) -> Frame:
        """See Serializer."""
        if isinstance(broadcast.payload, bytes):
            return self._binary(broadcast, broadcast.payload)
        whole = (NULL, NULL, broadcast.topic, broadcast.event, broadcast.payload)
        return Frame(self._encoder.encode(whole))

    def _binary(self, message: Push | Reply | Broadcast, data: bytes) -> Frame:
        try:
            if self._sends_binary:
                return Frame(_in_binary(message, data), binary=True)
        except binary.Unframeable:
            pass
        return self._in_text(message, binary.in_json(data))

    def _in_text(self, message: Push | Reply | Broadcast, payload: msgspec.Raw) -> Frame:
        replace = msgspec.structs.replace
        match message:
            case Push():
                return self.encode(replace(message, payload=payload))
            case Reply():
                return self.encode(replace(message, response=payload))
            case Broadcast():
                return self.fastlane(replace(message, payload=payload))


class _Object(Message, array_like=False, kw_only=True, frozen=True, gc=False):
    """`join_ref` may be missing, and nothing else."""

    payload: msgspec.Raw
    join_ref: msgspec.Raw = NULL


class V1:
    """`{"topic", "event", "payload", "ref", "join_ref"}` from clients, and the same without `join_ref` to them."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Object)
        self._encoder = msgspec.json.Encoder()

    def decode(self, frame: str | bytes) -> Message:
        """See Serializer."""
        if isinstance(frame, bytes):
            raise UndecodableFrame("binary")
        try:
            return self._decoder.decode(frame)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise UndecodableFrame(type(error).__name__) from None

    def encode(self, message: Push | Reply) -> Frame:
        """See Serializer."""
        if isinstance(message, Push):
            return self._object(message.topic, message.event, message.payload, message.ref)
        response = message.response
        if isinstance(response, bytes):
            response = binary.in_json(response)
        payload = {"status": message.status, "response": response}
        return self._object(message.topic, "phx_reply", payload, message.ref)

    def fastlane(self, broadcast: Broadcast) -> Frame:
        """See Serializer."""
        return self._object(broadcast.topic, broadcast.event, broadcast.payload, NULL)

    def _object(self, topic: Any, event: Any, payload: Any, ref: msgspec.Raw) -> Frame:
        if isinstance(payload, bytes):
            payload = binary.in_json(payload)
        found = {"topic": topic, "event": event, "payload": payload, "ref": ref}
        return Frame(self._encoder.encode(found))


def _in_binary(message: Push | Reply | Broadcast, data: bytes) -> bytes:
    match message:
        case Push():
            return binary.push(message, data)
        case Reply():
            return binary.reply(message, data)
        case Broadcast():
            return binary.broadcast(message, data)


_V1 = V1()
_VERSIONS: tuple[tuple[re.Pattern[str], Serializer, Serializer], ...] = (
    (re.compile(r"2\.0\.(0|[1-9][0-9]*)"), V2(), V2(sends_binary=False)),
    (re.compile(r"1\.0\.(0|[1-9][0-9]*)"), _V1, _V1),
)
# What a client speaks that does not say.
_UNSAID = "1.0.0"


def for_version(vsn: str | None, *, binary: bool = True) -> Serializer | None:
    """The serializer for the `vsn` of a handshake; None where that version is not spoken here. Without
    `binary` it sends text only, and takes what it otherwise takes."""
    said = _UNSAID if vsn is None else vsn
    for pattern, full, text_only in _VERSIONS:
        if pattern.fullmatch(said):
            return full if binary else text_only
    return None
