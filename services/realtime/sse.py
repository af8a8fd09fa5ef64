"""Server-sent events: the text that an EventSource reads, and the ids by which it comes back to where it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from crown import problem
from crown.errors import CrownError
from crown.live_position import Position
from services.realtime.live import Event, Live, Resync

CONTENT_TYPE = "text/event-stream"
# Tells an EventSource to come back after so many milliseconds.
RETRY = b"retry: 1000\n\n"
# A comment: shows both sides, and what lies between, that the other is there.
BEAT = b": beat\n\n"
# Seconds of silence after which one goes out.
BEAT_S = 15.0
# Bytes after which no more events are put into one message.
_CHUNK_BYTES = 64 << 10
_ID = re.compile(r"([0-9a-z]{1,64})\.([0-9]{1,18})")


class Frames:
    """Events as text, encoded once for all who read them so."""

    def encode(self, topic: str, event: Event) -> list[bytes | None]:
        """See Form."""
        del topic
        if isinstance(event, Resync):
            return [None]
        return [frame(event.event, event.payload, event.position if isinstance(event, Live) else None)]

    def together(self, parts: list[Any]) -> list[bytes | None]:
        """See Form."""
        return [text for part in parts for text in part]


def frame(event: str, payload: Any, position: Position | None = None) -> bytes:
    """One event. JSON has no line breaks, so that its data is one line."""
    identity = f"id: {position.epoch}.{position.offset}\n".encode() if position else b""
    return b"%bevent: %b\ndata: %b\n\n" % (identity, event.encode(), msgspec.json.encode(payload))


def failure(error: CrownError, request_id: str) -> bytes:
    """The event that says why the stream ends."""
    return b"event: error\ndata: %b\n\n" % problem.as_json(error, request_id)


def position(last_event_id: str) -> Position | None:
    """The place that an id names; None where it is none of ours."""
    found = _ID.fullmatch(last_event_id)
    return Position(int(found[2]), found[1]) if found else None


def chunks(frames: list[bytes]) -> Iterator[bytes]:
    """`frames` in messages that a gateway need not take apart."""
    waiting: list[bytes] = []
    size = 0
    for text in frames:
        waiting.append(text)
        size += len(text)
        if size >= _CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
