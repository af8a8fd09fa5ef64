"""How long the rules of the protos take for the largest requests that they let through: one notification for 10,000
people, and a bulk of 4 MiB. Processor time of our own code alone; while it runs, its process does nothing else."""

from __future__ import annotations

import time

from google.protobuf.message import Message

from bench.site import Site
from bench.table import Figure
from crown import validation
from crown.notification.v1.ingest_service_pb2 import SendBulkNotificationsRequest, SendNotificationRequest
from crown.notification.v1.notification_pb2 import NotificationData

_PEOPLE, _NOTIFICATIONS, _BYTES = 10_000, 1_000, 4 << 20
# A person's id may have as many characters.
_ID_CHARS = 128
_TRIES = 200


async def measure(site: Site) -> list[Figure]:
    """Both."""
    del site
    people = SendNotificationRequest(
        user_ids=[f"{number:0{_ID_CHARS}d}" for number in range(_PEOPLE)],
        data=NotificationData(title="Hello"),
    )
    return [
        _figure(f"rules of one for {_PEOPLE:,} people", people),
        _figure("rules of a bulk of 4 MiB", _bulk()),
    ]


def _bulk() -> SendBulkNotificationsRequest:
    """As many as there may be, which fill the bytes that there may be."""
    each = _BYTES // _NOTIFICATIONS - 100
    data = NotificationData(title="Hello", message="x" * 1_000)
    one = SendNotificationRequest(data=data)
    while one.ByteSize() < each - _ID_CHARS:
        one.user_ids.append(f"{len(one.user_ids):0{_ID_CHARS}d}")
    made = SendBulkNotificationsRequest(notifications=[one] * _NOTIFICATIONS)
    assert made.ByteSize() <= _BYTES
    return made


def _figure(name: str, message: Message) -> Figure:
    """As the door and the API look at it: the whole, and each item of a bulk by itself."""
    parts = [message, *getattr(message, "notifications", ())]
    assert [found for part in parts for found in validation.violations(part)] == []
    times = []
    for _ in range(_TRIES):
        began = time.thread_time()
        for part in parts:
            validation.violations(part)
        times.append((time.thread_time() - began) * 1_000)
    times.sort()
    p50, p99 = times[_TRIES // 2], times[_TRIES * 99 // 100]
    return Figure(name, f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", note=f"{message.ByteSize() / 1024:,.0f} KiB")
