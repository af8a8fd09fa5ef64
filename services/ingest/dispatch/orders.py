"""Orders: what is read from the intake, whole and workable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from crown import subjects, tracing
from crown.catalogue import CATEGORIES
from crown.clock import moment
from crown.newer import must_be_for_us
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.pull import Message
from crown.store import Document
from crown.vault import Key
from services.ingest.decide import Asked, Decision

_ROWS_A_TURN = 2_000


@dataclass(frozen=True, slots=True)
class Form:
    """What the rows of an order have in common where the same was decided. Most people chose nothing, so that one
    form serves a whole page of them."""

    decisions: list[Decision]
    fields: Document
    deliveries: list[tuple[str, Document]]


@dataclass(slots=True)
class Order:
    """One intake message, decoded; `fresh` are the rows that this turn writes first."""

    message: Message
    event: IntakeEvent
    content_key: Key
    # The context that goes on from here, and the step that it is.
    trace: str
    span: tracing.Span | tracing.Nothing = tracing.NOTHING
    decisions: dict[str, list[Decision]] = field(default_factory=dict)
    # What its last row had in common with others.
    form: Form | None = None
    # What the event asks for.
    asked: Asked = field(init=False)

    def __post_init__(self) -> None:
        self.asked = asked(self.event)


def must_be_workable(event: IntakeEvent) -> None:
    """Raises Newer where it is of newer code of ours, and ValueError or OverflowError where a later step would fail:
    it is none of ours."""
    if not subjects.is_own(event.notification_id):
        raise ValueError("it is nobody's")
    must_be_for_us(
        event.needs_version, lane=(event.priority, subjects.LANES), category=(event.category, CATEGORIES)
    )
    for channel in event.channels:
        must_be_for_us(0, channel=(channel, subjects.CHANNELS))
    somebody = event.user_ids or event.HasField("audience")
    if not (somebody and event.channels and event.content.ciphertext):
        raise ValueError("something is missing")
    if not set(event.channels) <= set(subjects.CHANNELS):
        raise ValueError("a channel is none")
    if event.priority not in subjects.LANES or event.category not in CATEGORIES:
        raise ValueError("there is no lane or category")
    if is_listing(event) and not 0 <= event.audience.position < len(event.audience.group_ids):
        raise ValueError("the listing is nowhere")
    moment(event.create_time)
    expire_time(event)
    send_time(event)


def is_listing(event: IntakeEvent) -> bool:
    """Whether the people that it is for are still to be listed."""
    return bool(event.audience.group_ids) and not event.user_ids


def page(event: IntakeEvent) -> int | None:
    """How many people were listed before this page, which no other page of the notification has; None where it is
    no page."""
    paged = event.HasField("audience") and event.user_ids
    return event.audience.listed if paged else None


def parts(orders: list[Order]) -> Iterator[list[Order]]:
    """The orders, a few thousand rows at a time."""
    part: list[Order] = []
    size = 0
    for order in orders:
        if part and size + len(order.event.user_ids) > _ROWS_A_TURN:
            yield part
            part, size = [], 0
        part.append(order)
        size += len(order.event.user_ids)
    if part:
        yield part


def expire_time(event: IntakeEvent) -> datetime | None:
    return moment(event.expire_time) if event.HasField("expire_time") else None


def send_time(event: IntakeEvent) -> datetime | None:
    """When it is to be sent; None: at once."""
    return moment(event.send_time) if event.HasField("send_time") else None


def asked(event: IntakeEvent) -> Asked:
    """What an event asks for, as decisions see it."""
    create_time = moment(event.create_time)
    escalations = tuple((one.channel, one.after.ToTimedelta()) for one in event.escalations)
    return Asked(
        tuple(event.channels),
        event.category,
        event.kind,
        max(create_time, send_time(event) or create_time),
        expire_time(event),
        event.local_time,
        escalations,
    )
