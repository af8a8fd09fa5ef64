"""What the engine publishes about a delivery: its next attempt, what became of it, and its dead letter."""

from __future__ import annotations

from crown import metrics, subjects, tracing
from crown.bus import Outgoing
from crown.clock import now, timestamp
from crown.ledger import Change
from crown.notification.v1.events_pb2 import DeadLetter, OutcomeEvent
from crown.pull import Message

_BODY_MOST_BYTES = 64 << 10
# Reasons that dead letters carry as they are; every other one is a provider's final no.
_OWN_REASONS = {
    "RETRIES_EXHAUSTED", "OUTCOME_UNKNOWN", "POISON_KILLED_WORKER", "TEMPLATE_FAILED", "TEMPLATE_NOT_FOUND",
    "TEMPLATE_TOO_LARGE", "TEMPLATE_TIMEOUT",
}  # fmt: skip


def retry(channel: str, change: Change, trace: str = "") -> Outgoing:
    """The next attempt, for JetStream to publish when it is due. One subject a delivery: scheduling it again
    replaces. `trace` is the context that this attempt had, so that the next stands beside it."""
    assert change.due_time is not None
    lane = subjects.LANES.get(change.event.priority, "normal")
    due = change.due_time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    headers = {"Nats-Schedule": f"@at {due}", "Nats-Schedule-Target": subjects.due(channel, lane)}
    headers |= tracing.header(trace) or {}
    return Outgoing(
        subjects.retry(channel, change.event.delivery_id), change.event.SerializeToString(), headers
    )


def outcome(channel: str, change: Change) -> Outgoing:
    """What became of it."""
    event = OutcomeEvent(
        delivery_id=change.event.delivery_id,
        notification_id=change.event.notification_id,
        user_id=change.event.user_id,
        channel=change.event.channel,
        state=change.state,
        reason=change.reason,
        attempt=change.claims,
        provider=change.provider,
        provider_message_id=change.provider_message_id,
        occur_time=timestamp(now()),
        detail=change.detail,
        due_time=timestamp(change.due_time),
    )
    headers = {tracing.HEADER: tracing.current()}
    return Outgoing(subjects.event(channel), event.SerializeToString(), headers)


def dead(channel: str, change: Change, message: Message) -> Outgoing:
    """The dead letter of a delivery that nobody will try again by itself."""
    word = change.reason.partition(":")[0]
    letter = DeadLetter(
        reason=word if word in _OWN_REASONS else "PROVIDER_TERMINAL",
        delivery=change.event,
        attempts=change.attempts,
        error=change.reason,
        provider=change.provider,
        claims=change.claims,
    )
    return _letter(channel, letter, message, f"{change.event.delivery_id}:{change.claims}")


def unreadable(channel: str, message: Message) -> Outgoing:
    """The dead letter of a message that is none of ours."""
    letter = DeadLetter(reason="UNDECODABLE", body=message.data[:_BODY_MOST_BYTES])
    return _letter(channel, letter, message, f"{message.stream}:{message.sequence}")


def _letter(channel: str, letter: DeadLetter, message: Message, key: str) -> Outgoing:
    """`key` is the same where the letter is: it may be written again after a crash before the ack, and by
    another message that carries the same delivery."""
    letter.create_time.FromDatetime(now())
    letter.stream = message.stream
    letter.sequence = message.sequence
    metrics.DEAD.labels(channel, letter.reason).inc()
    return Outgoing(subjects.dead(channel), letter.SerializeToString(), {"Nats-Msg-Id": key})
