"""What dispatch publishes: work for the channels, frames for sockets, and words about what it brought to an end."""

from __future__ import annotations

from crown import subjects, tracing
from crown.bus import Outgoing
from crown.clock import timestamp
from crown.notification.v1.events_pb2 import DeliveryEvent, LiveEvent, OutcomeEvent
from services.ingest.dispatch.notice import Notice

_CHANNEL_OF = {name: value for value, name in subjects.CHANNELS.items()}


def delivery(notice: Notice, channel: str) -> Outgoing:
    """Asks a channel to work on its delivery."""
    row = notice.row
    event = DeliveryEvent(
        delivery_id=row["deliveries"][channel]["id"],
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        channel=_CHANNEL_OF[channel],
        priority=row["lane"],
    )
    subject = subjects.delivery(channel, subjects.LANES[row["lane"]])
    return Outgoing(subject, event.SerializeToString(), {tracing.HEADER: notice.trace})


def decided(notice: Notice, channel: str) -> Outgoing:
    """Tells that a delivery was at its end as soon as it was decided on."""
    row, state = notice.row, notice.row["deliveries"][channel]
    event = OutcomeEvent(
        delivery_id=state["id"],
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        channel=_CHANNEL_OF[channel],
        state=state["state"],
        reason=state["reason"],
        occur_time=timestamp(row["decide_time"]),
    )
    return Outgoing(subjects.decided(channel), event.SerializeToString(), {tracing.HEADER: notice.trace})


def frame(notice: Notice) -> bytes:
    """What the frames of all people of a notification have in common."""
    row = notice.row
    event = LiveEvent(
        event="notification",
        notification_id=row["notification_id"],
        kind=row["kind"],
        category=row["category"],
        create_time=timestamp(row["create_time"]),
        content=notice.content,
    )
    return event.SerializeToString()


def live(notice: Notice, common: bytes) -> Outgoing:
    """The frame for the person's open sockets. Messages that are serialized one behind the other are one."""
    user_id = notice.row["user_id"]
    subject = subjects.live_source(subjects.user_topic(user_id))
    data = LiveEvent(user_id=user_id).SerializeToString() + common
    return Outgoing(subject, data, {tracing.HEADER: notice.trace})
