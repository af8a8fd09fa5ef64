"""What the recorder hears: outcomes, decisions and callbacks, told apart by their subjects."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from crown import logs, subjects
from crown.clock import moment
from crown.newer import must_be_for_us
from crown.notification.v1.events_pb2 import CallbackEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import CallbackType, DeliveryState
from crown.pull import Message

log = logs.get(__name__)

_CALLBACK = subjects.callback("")
_DECIDED = subjects.decided("")


@dataclass(frozen=True, slots=True)
class Decided:
    """What dispatch itself brought to an end. The row says it already; only senders are told."""

    outcome: OutcomeEvent


Event = OutcomeEvent | CallbackEvent | Decided


def read(message: Message) -> Event | None:
    """What a message tells; None, with a line in the log, where nobody can read it. Nobody's delivery hangs
    on it: the ledger has the state. Raises Newer."""
    try:
        if message.subject.startswith(_CALLBACK):
            return _callback(message.data)
        outcome = _outcome(message.data)
        return Decided(outcome) if message.subject.startswith(_DECIDED) else outcome
    except (DecodeError, ValueError, OverflowError):
        note_unreadable(message)
        return None


def note_unreadable(message: Message) -> None:
    """Says in the log that nobody can read it."""
    log.warning("event_undecodable", subject=message.subject, sequence=message.sequence)


def _outcome(data: bytes) -> OutcomeEvent:
    event = OutcomeEvent.FromString(data)
    if not subjects.is_own(event.delivery_id):
        raise ValueError("no delivery is named")
    must_be_for_us(
        event.needs_version,
        state=(event.state, DeliveryState.Type.values()),
        channel=(event.channel, subjects.NAMES),
    )
    moment(event.occur_time)
    moment(event.due_time)
    return event


def _callback(data: bytes) -> CallbackEvent:
    event = CallbackEvent.FromString(data)
    if not event.callback_id or not (event.delivery_id or event.provider_message_id):
        raise ValueError("no delivery is named")
    must_be_for_us(
        event.needs_version,
        channel=(event.channel, subjects.NAMES),
        callback=(event.type, CallbackType.Type.values()),
    )
    moment(event.occur_time)
    moment(event.receive_time)
    return event
