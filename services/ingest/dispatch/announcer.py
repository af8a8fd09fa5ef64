"""Tells what stands in the ledger: to the channels, to sockets, and to senders who want to hear."""

from __future__ import annotations

import asyncio
from collections import Counter

from crown import logs, metrics, subjects, tracing
from crown.bus import Bus, Outgoing
from crown.errors import BusUnavailable
from crown.notification.v1.events_pb2 import EphemeralEvent
from crown.notification.v1.types_pb2 import DeliveryState
from crown.vault import Key
from services.ingest.dispatch import messages, rows
from services.ingest.dispatch.notice import Notice

log = logs.get(__name__)

# The event that says that the inbox has changed, and nothing else.
_INBOX = "inbox"


class Announcer:
    """Publishes what follows from rows."""

    def __init__(self, bus: Bus, data_key: Key) -> None:
        self._bus = bus
        self._data_key = data_key

    async def announce(self, notices: list[Notice]) -> None:
        """Publishes the work of the channels, frames for sockets, and words for senders who want to hear."""
        live: list[Outgoing] = []
        quiet: list[str] = []
        decided: list[Outgoing] = []
        deliveries: dict[str, list[Outgoing]] = {}
        told: list[tracing.Span | tracing.Nothing] = []
        counts: Counter[tuple[str, DeliveryState.Type.ValueType]] = Counter()
        frames: dict[str, bytes] = {}
        for notice in notices:
            row = notice.row
            for channel, state in row["deliveries"].items():
                counts[channel, state["state"]] += 1
                if state["state"] == DeliveryState.PENDING:
                    lane = subjects.LANES[row["lane"]]
                    deliveries.setdefault(lane, []).append(messages.delivery(notice, channel))
                elif notice.webhook and state["state"] == state.get("decided"):
                    decided.append(messages.decided(notice, channel))
            if rows.is_delivered(row, "real_time"):
                notification_id = row["notification_id"]
                if notification_id not in frames:
                    frames[notification_id] = messages.frame(notice)
                live.append(messages.live(notice, frames[notification_id]))
                told.append(_frame_step(notice))
            elif rows.is_delivered(row, "in_app"):
                quiet.append(row["user_id"])
        for (channel, number), count in counts.items():
            metrics.DISPATCHED.labels(channel, DeliveryState.Type.Name(number)).inc(count)
        await asyncio.gather(
            self._bus.publish_all(live),
            self._bus.publish_many(decided),
            *(self._bus.publish_many(found) for found in deliveries.values()),
        )
        for step in told:
            step.end()
        await self._tell_counts(quiet)

    async def _tell_counts(self, user_ids: list[str]) -> None:
        """Has the open sockets of these people count anew: nothing that they get says that there is more to
        read. Who is not told counts when they come back."""
        event = EphemeralEvent(event=_INBOX, sealed=self._data_key.seal(b"{}")).SerializeToString()
        topics = (subjects.user_topic(user_id) for user_id in dict.fromkeys(user_ids))
        try:
            await self._bus.tell(Outgoing(subjects.live(topic), event) for topic in topics)
        except BusUnavailable:
            log.warning("counts_untold", count=len(user_ids))


def _frame_step(notice: Notice) -> tracing.Span | tracing.Nothing:
    """The frame for a person's sockets as a step of the trace. How many sockets there are is known to nobody."""
    if not tracing.is_sampled(notice.trace):
        return tracing.NOTHING
    row = notice.row
    return tracing.span(
        "publish frame",
        tracing.Kind.PRODUCER,
        notice.trace,
        notification_id=row["notification_id"],
        channel="real_time",
        lane=subjects.LANES[row["lane"]],
        kind=row["kind"],
        outcome="DELIVERED",
    )
