"""What programs publish: from a request to what rides the bus, and what a payload may not be."""

from __future__ import annotations

from typing import Any

import msgspec

from crown import subjects, vault
from crown.bus import Outgoing
from crown.errors import Violation
from crown.notification.v1 import events_pb2
from crown.notification.v1.realtime_service_pb2 import PublishRequest
from services.realtime.live import plain

PAYLOAD_MOST_BYTES = 16 << 10
# What the service puts beside the payload of a numbered event.
RESERVED = ("offset", "epoch")


def topic(request: PublishRequest) -> str:
    """Where it goes."""
    return request.topic or subjects.user_topic(request.user_id)


def payload(request: PublishRequest) -> dict[str, Any]:
    """What the sockets get. Raises ValueError where a number is not finite."""
    return plain(request.payload)


def numbered(request: PublishRequest, data_key: vault.Key) -> Outgoing:
    """The event as the stream numbers and keeps it."""
    where = topic(request)
    kind, _, name = where.partition(":")
    event = events_pb2.LiveEvent(user_id=name if kind == "user" else "", event=request.event)
    event.content.CopyFrom(vault.seal(data_key, msgspec.json.encode(payload(request))))
    return Outgoing(subjects.live_source(where), event.SerializeToString())


def broken(request: PublishRequest) -> list[Violation]:
    """What the rules in the proto cannot say of a payload."""
    try:
        size = len(msgspec.json.encode(payload(request)))
    except ValueError:
        return [Violation("payload", "must hold finite numbers only", "number.finite")]
    if size > PAYLOAD_MOST_BYTES:
        return [Violation("payload", f"must be at most {PAYLOAD_MOST_BYTES} bytes of JSON", "bytes.max_len")]
    if request.ephemeral:
        return []
    return [
        Violation(f"payload.{name}", "must be left out: the service adds it", "payload.reserved")
        for name in RESERVED
        if name in request.payload.fields
    ]
