"""IngestService: accepts notifications and tells what became of them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from crown import problem, tracing
from crown.auth import caller
from crown.errors import (
    CrownError,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
    Violation,
)
from crown.notification.v1 import ingest_service_pb2 as pb
from crown.notification.v1.notification_pb2 import Notification
from crown.notification.v1.types_pb2 import NotificationStatus
from crown.store import Database
from crown.validation import violations
from services.ingest import timeline
from services.ingest.cancelling import Cancelling
from services.ingest.intake import accept
from services.ingest.intake.intake import Call, Intake, Outcome
from services.ingest.intake.keys import KeyBook
from services.ingest.intake.quota import Quota
from services.ingest.intake.streaming import Acknowledged
from services.ingest.overview import Overview
from services.ingest.timeline import Timeline

RECIPIENTS_MOST = 10_000
# Recipients in items of one stream that wait for their results.
UNACKNOWLEDGED_MOST = 4_096
_NONE = "there is no notification with this id"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_NAME_MOST_CHARS = 64
# What says nothing about an item itself.
_FOR_NOW = (Unavailable, OutcomeUnknown, RateLimited)


class IngestService:
    """The servicer. Accepting needs the bus alone; the store is only asked about keys and read for answers."""

    def __init__(
        self, intake: Intake, keys: KeyBook, quota: Quota, db: Database, cancelling: Cancelling
    ) -> None:
        self._intake = intake
        self._quota = quota
        self._overview = Overview(db, keys)
        self._timeline = Timeline(db)
        self._cancelling = cancelling

    def checks(self) -> Mapping[str, Any]:
        """What the door checks beside the rules in the protos, by method."""
        return {
            "SendNotification": lambda request: accept.problems(request, self._intake.rules()),
            "SendBulkNotifications": lambda request: _few_enough(request.notifications, "notifications"),
            "StreamNotifications": lambda request: _few_enough(
                [item.notification for item in request.items], "items"
            ),
        }

    async def SendNotification(
        self, request: pb.SendNotificationRequest, context: Any
    ) -> pb.SendNotificationResponse:
        """Accepts one notification."""
        accepted = await self._intake.take(request, Call("SendNotification", _header_key(context)))
        await self._tell_rate(context)
        return pb.SendNotificationResponse(
            notification_id=accepted.notification_id, status=NotificationStatus.ACCEPTED
        )

    async def SendBulkNotifications(
        self, request: pb.SendBulkNotificationsRequest, context: Any
    ) -> pb.SendBulkNotificationsResponse:
        """Accepts each notification on its own."""
        outcomes = await self._intake.take_all(
            request.notifications, Call("SendBulkNotifications", _header_key(context))
        )
        if (error := _for_all(outcomes)) is not None:
            raise error
        await self._tell_rate(context)
        return pb.SendBulkNotificationsResponse(results=[_result(outcome) for outcome in outcomes])

    async def StreamNotifications(
        self, requests: AsyncGenerator[pb.StreamNotificationsRequest, None], context: Any
    ) -> AsyncGenerator[pb.StreamNotificationsResponse, None]:
        """Accepts each item of each request on its own."""
        key = _header_key(context)
        await self._tell_rate(context)
        stream = tracing.current()
        count = 0

        async def take(request: pb.StreamNotificationsRequest) -> pb.StreamNotificationsResponse:
            nonlocal count
            first = count
            count += len(request.items)
            # A stream may go on for a day: its messages have traces of their own.
            with tracing.root("accept items", tracing.Kind.INTERNAL, [stream], count=len(request.items)):
                return await self._take_items(request.items, Call("StreamNotifications", key, first))

        acknowledged = Acknowledged(_weight, take, UNACKNOWLEDGED_MOST)
        async with aclosing(acknowledged.answers(requests)) as answers:
            async for answer in answers:
                yield answer

    async def _take_items(self, items: Sequence[pb.StreamItem], call: Call) -> pb.StreamNotificationsResponse:
        misnamed = {
            place: violations(pb.StreamItem(item_id=item.item_id))
            for place, item in enumerate(items)
            # Asked only where its one rule could be broken: there are many.
            if len(item.item_id) > _NAME_MOST_CHARS
        }
        outcomes = await self._intake.take_all([item.notification for item in items], call, misnamed)
        results = [
            _stream_result(item.item_id, position, outcome)
            for position, (item, outcome) in enumerate(zip(items, outcomes, strict=True), call.first)
        ]
        return pb.StreamNotificationsResponse(results=results)

    async def _tell_rate(self, context: Any) -> None:
        if headers := self._quota.headers(caller().subject):
            await context.send_initial_metadata(headers)

    async def ExplainNotification(
        self, request: pb.ExplainNotificationRequest, _context: Any
    ) -> pb.ExplainNotificationResponse:
        """Tells the story of a notification."""
        found = await self._overview.document(request.notification_id)
        if found is None or not _is_theirs(found["sender"]):
            raise NotFound(_NONE)
        limit = request.limit if request.HasField("limit") else timeline.LIMIT
        page = await self._timeline.page(found, request.user_id, limit, request.cursor)
        return pb.ExplainNotificationResponse(
            notification_id=request.notification_id, entries=page.entries, next_cursor=page.cursor
        )

    async def GetNotification(
        self, request: pb.GetNotificationRequest, _context: Any
    ) -> pb.GetNotificationResponse:
        """Tells what became of a notification."""
        found: Notification | None = await self._overview.find(request.notification_id)
        if found is None or not _is_theirs(found.sender):
            raise NotFound(_NONE)
        return pb.GetNotificationResponse(notification=found)

    async def CancelNotification(
        self, request: pb.CancelNotificationRequest, _context: Any
    ) -> pb.CancelNotificationResponse:
        """Stops what has not been sent of a notification."""
        found = await self._overview.document(request.notification_id)
        if found is None or not _is_theirs(found["sender"]):
            raise NotFound(_NONE)
        done = await self._cancelling.cancel(request.notification_id)
        return pb.CancelNotificationResponse(
            notification_id=request.notification_id,
            status=NotificationStatus.CANCELLED,
            cancelled_count=done.count,
            late_count=done.late,
        )


def _is_theirs(sender: str) -> bool:
    """Whether the caller may look at what `sender` sent."""
    who = caller()
    return who.use != "service" or who.subject == sender


def _header_key(context: Any) -> str:
    """The idempotency key of the header, empty where there is none. Raises InvalidRequest."""
    for name, value in context.invocation_metadata() or ():
        if name == "idempotency-key":
            if not isinstance(value, str) or not _KEY.fullmatch(value):
                what = "must be 1 to 255 printable ASCII characters without spaces"
                raise InvalidRequest.of([Violation("Idempotency-Key", what, "string.pattern")])
            return value
    return ""


def _few_enough(requests: Sequence[pb.SendNotificationRequest], field: str) -> list[Violation]:
    count = sum(len(request.user_ids) or 1 for request in requests)
    if count <= RECIPIENTS_MOST:
        return []
    what = f"must have at most {RECIPIENTS_MOST} recipients in all, and has {count}"
    return [Violation(field, what, "recipients")]


def _weight(request: pb.StreamNotificationsRequest) -> int:
    return sum(accept.recipients(item.notification) for item in request.items)


def _for_all(outcomes: Sequence[Outcome]) -> CrownError | None:
    """Why none of several could be accepted now, though there is nothing wrong with some."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, CrownError)]
    if len(errors) < len(outcomes):
        return None
    return next((error for error in errors if isinstance(error, _FOR_NOW)), None)


def _result(outcome: Outcome) -> pb.BulkResult:
    if isinstance(outcome, CrownError):
        return pb.BulkResult(error=problem.status(outcome))
    return pb.BulkResult(notification_id=outcome.notification_id, status=NotificationStatus.ACCEPTED)


def _stream_result(item_id: str, position: int, outcome: Outcome) -> pb.StreamResult:
    if isinstance(outcome, CrownError):
        return pb.StreamResult(item_id=item_id, position=position, error=problem.status(outcome))
    return pb.StreamResult(
        item_id=item_id,
        position=position,
        notification_id=outcome.notification_id,
        status=NotificationStatus.ACCEPTED,
    )
