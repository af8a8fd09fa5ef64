"""What of a notification its trace tells. One to a few people is told of whole. Of one to many, the trace is to be
looked at and not to be drowned in: of each order it follows the first few people, and of an audience the first page,
the second, the fourth, the eighth and so on; so a million people are about ten pages and a hundred people."""

from __future__ import annotations

from crown import subjects, tracing
from crown.notification.v1.events_pb2 import IntakeEvent
from services.ingest.dispatch.orders import Order

PEOPLE_MOST = 10
_PAGE = 1_000


def step(event: IntakeEvent, trace: str) -> tracing.Span | tracing.Nothing:
    """The dispatch of an order as a step of its trace."""
    if not _is_told(event):
        return tracing.NOTHING
    return tracing.span(
        "dispatch",
        tracing.Kind.CONSUMER,
        trace,
        notification_id=event.notification_id,
        lane=subjects.LANES[event.priority],
        kind=event.kind,
        people=len(event.user_ids),
    )


def is_followed(order: Order, number: int) -> bool:
    """Whether the trace follows what is sent to the person with this place in the order."""
    return number < PEOPLE_MOST and tracing.is_sampled(order.trace) and _is_told(order.event)


def _is_told(event: IntakeEvent) -> bool:
    """Of an audience: by how many pages stand before."""
    before = event.audience.listed // _PAGE if event.HasField("audience") else 0
    # The powers of two have one bit.
    return before & (before - 1) == 0
