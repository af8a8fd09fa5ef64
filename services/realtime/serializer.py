"""The wire protocol, by version: messages to text and back. Phoenix's V2 is an array of five."""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from services.realtime.message import NULL, Broadcast, Message, Push, Reply


class UndecodableFrame(Exception):
    """The text is no message of this protocol."""


class Serializer(Protocol):
    """One version of the protocol."""

    def decode(self, text: str) -> Message:
        """The message in `text`. Raises UndecodableFrame."""

    def encode(self, message: Push | Reply) -> bytes:
        """`message` for the one connection that it is for."""

    def fastlane(self, broadcast: Broadcast) -> bytes:
        """`broadcast`, encoded once for every connection that speaks this version."""


class V2:
    """`[join_ref, ref, topic, event, payload]`. More elements are ignored, fewer are an error. The decoder
    takes strict JSON only, reads payloads no further than their end, and gives up on deep nesting."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Message)
        self._encoder = msgspec.json.Encoder()

    def decode(self, text: str) -> Message:
        """See Serializer."""
        try:
            return self._decoder.decode(text)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise UndecodableFrame(type(error).__name__) from None

    def encode(self, message: Push | Reply) -> bytes:
        """See Serializer."""
        if isinstance(message, Push):
            return self._encoder.encode(message)
        answer = {"status": message.status, "response": message.response}
        return self._encoder.encode((message.join_ref, message.ref, message.topic, "phx_reply", answer))

    def fastlane(self, broadcast: Broadcast) -> bytes:
        """See Serializer."""
        return self._encoder.encode((NULL, NULL, broadcast.topic, broadcast.event, broadcast.payload))


_VERSIONS: tuple[tuple[re.Pattern[str], Serializer], ...] = ((re.compile(r"2\.0\.(0|[1-9][0-9]*)"), V2()),)
# What a client speaks that does not say.
_UNSAID = "1.0.0"


def for_version(vsn: str | None) -> Serializer | None:
    """The serializer for the `vsn` of a handshake; None where that version is not spoken here."""
    said = _UNSAID if vsn is None else vsn
    return next((found for pattern, found in _VERSIONS if pattern.fullmatch(said)), None)
