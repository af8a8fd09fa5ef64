"""Clients of a benchmark, as bench/entrance.py brings them in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bench import wire
from bench.child import Answer

_JOINED = b'"status":"ok"'


@dataclass(frozen=True, slots=True)
class Guest:
    """A client that joins one topic, or nothing, and does not listen."""

    request: bytes
    join: bytes

    def welcome(self, reply: bytes) -> bool:
        """See Visitor."""
        return _JOINED in reply

    def hear(self, text: bytes) -> None:
        """See Visitor."""


def path(token: str) -> str:
    """Where a client of the realtime service connects."""
    return f"/socket/websocket?vsn=2.0.0&token={token}"


def join(topic: str, payload: Answer | None = None) -> bytes:
    """The frame that joins `topic`."""
    return wire.said(json.dumps(["1", "1", topic, "phx_join", payload or {}], separators=(",", ":")).encode())


def guests(host: str, members: Sequence[tuple[str, str]]) -> list[Guest]:
    """Those who connect with the first and join the second of each pair: a path, and a topic or nothing."""
    return [Guest(wire.request(host, at), join(topic) if topic else b"") for at, topic in members]
