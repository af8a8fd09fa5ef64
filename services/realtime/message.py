"""What travels on a socket, free of any encoding: a message has five fields, and replies match by `ref`.
`join_ref` and `ref` stay the JSON they came as, since clients get them back exactly as they sent them."""

from __future__ import annotations

from typing import Any

import msgspec

NULL = msgspec.Raw(b"null")

# JSON as it came, or what a binary frame holds.
Payload = msgspec.Raw | bytes


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a client sends. It may send anything as `topic` and `event`; only strings mean something."""

    join_ref: msgspec.Raw
    ref: msgspec.Raw
    topic: Any
    event: Any
    payload: Payload


class Push(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the server sends to one channel; bytes as `payload` travel in binary."""

    join_ref: msgspec.Raw
    ref: msgspec.Raw
    topic: str
    event: str
    payload: Any


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to one message; bytes as `response` travel in binary."""

    join_ref: msgspec.Raw
    ref: msgspec.Raw
    topic: Any
    status: str
    response: Any


class Broadcast(msgspec.Struct, frozen=True, gc=False):
    """What everybody on a topic gets, in the same bytes; bytes as `payload` travel in binary."""

    topic: str
    event: str
    payload: Any


class Frame(msgspec.Struct, frozen=True, gc=False):
    """What a transport sends at once: text in UTF-8, or binary."""

    data: bytes
    binary: bool = False
