"""What was put on a stream and has no result yet. When a stream breaks off it goes onto the next one: each has an
idempotency key, so that what was accepted without an answer is not accepted twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from crown.client import bulk, keys
from crown.client.bulk import Sent
from crown.errors import CrownError, OutcomeUnknown, Unauthenticated, Unavailable
from crown.notification.v1.ingest_service_pb2 import (
    SendNotificationRequest,
    StreamItem,
    StreamNotificationsRequest,
    StreamNotificationsResponse,
)

# Of one request.
ITEMS_MOST = 500
# What waits for results at most, where the caller does not say; half of what the service takes.
WINDOW = 2_048


class Unanswered:
    """The items in order."""

    def __init__(self) -> None:
        self._items: deque[SendNotificationRequest] = deque()

    def __len__(self) -> int:
        """How many wait for a result."""
        return len(self._items)

    def add(self, drafts: Iterable[SendNotificationRequest]) -> list[StreamNotificationsRequest]:
        """Takes them up, and answers the requests that hold them."""
        items = [_keyed(draft) for draft in drafts]
        self._items.extend(items)
        return list(_requests(items))

    def again(self) -> list[StreamNotificationsRequest]:
        """The requests that hold all."""
        return list(_requests(self._items))

    def answered(self, answer: StreamNotificationsResponse) -> list[Sent]:
        """What became of those that were waiting longest."""
        for _ in answer.results:
            self._items.popleft()
        return [bulk.sent(result) for result in answer.results]


def goes_on(error: CrownError, answered: bool) -> bool:
    """Whether another stream may do better than one that broke off with this, after some results or before any."""
    if isinstance(error, Unauthenticated):
        # The token expired under way; who has a source of tokens goes on with a new one.
        return answered
    # The last is what grpc says in Python where it was writing while the other side ended the stream.
    return isinstance(error, Unavailable | OutcomeUnknown) or "Internal error from Core" in error.message


def _keyed(draft: SendNotificationRequest) -> SendNotificationRequest:
    if draft.idempotency_key:
        return draft
    found = SendNotificationRequest()
    found.CopyFrom(draft)
    found.idempotency_key = keys.given_or_new("")
    return found


def _requests(items: Iterable[SendNotificationRequest]) -> Iterator[StreamNotificationsRequest]:
    for part in bulk.parts(items, ITEMS_MOST):
        yield StreamNotificationsRequest(items=[StreamItem(notification=item) for item in part])
