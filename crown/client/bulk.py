"""Many notifications in few calls: how they are cut into parts, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from crown.client import refusals
from crown.errors import CrownError
from crown.notification.v1.ingest_service_pb2 import BulkResult, SendNotificationRequest, StreamResult

# What one call may hold.
ITEMS_MOST = 1_000
RECIPIENTS_MOST = 10_000
# Less than the server takes, which counts what surrounds the items too.
BYTES_MOST = 3 << 20


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one notification of many: its id, or the error for which it was not accepted."""

    notification_id: str
    error: CrownError | None = None


def parts(
    drafts: Iterable[SendNotificationRequest], items_most: int = ITEMS_MOST
) -> Iterator[list[SendNotificationRequest]]:
    """The drafts in order, in calls as large as may be."""
    part: list[SendNotificationRequest] = []
    people = size = 0
    for item in drafts:
        more, larger = len(item.user_ids) or 1, item.ByteSize() + 8
        full = len(part) == items_most or people + more > RECIPIENTS_MOST or size + larger > BYTES_MOST
        if part and full:
            yield part
            part, people, size = [], 0, 0
        part.append(item)
        people, size = people + more, size + larger
    if part:
        yield part


def sent(result: BulkResult | StreamResult) -> Sent:
    """One result of a call."""
    if result.HasField("error"):
        return Sent("", refusals.from_status(result.error))
    return Sent(result.notification_id)
