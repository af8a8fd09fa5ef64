"""Bad messages for the bus: for each subject that somebody reads, good messages of its kind that are spoilt in every
way, and what has to become of each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import product

from google.protobuf.message import Message

from crown import ids, newer, subjects, vault
from crown.notification.v1.events_pb2 import (
    CallbackEvent,
    DeadLetter,
    DeliveryEvent,
    DisconnectEvent,
    IntakeEvent,
    LiveEvent,
    OutcomeEvent,
)
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import CallbackType, Channel, DeliveryState, Priority
from crown.subjects import LANES, NAMES, WORKED, Consumer
from services.ingest.intake import accept
from tests import broken
from tests.trust.spoiling import Spoiler

# Stands in every message, and so may stand in no log.
CANARY = "Nachtschwalbe-0815"
# NATS takes a megabyte, headers included.
HUGE_BYTES = 900_000
# Of further ones.
LARGE_BYTES = 20_000
# A value that no enum has.
_UNKNOWN = 77


class Fate(Enum):
    """What has to become of a message."""

    # Nobody can read it: a dead letter, or a line in the recorder's log; once, and at once.
    UNREADABLE = auto()
    # It may be of newer code: it comes again until that is there.
    NEWER = auto()
    # It may be read by chance, or look newer by chance: no more than that it holds nobody up.
    ANY = auto()


@dataclass(frozen=True)
class Subject:
    """One that somebody reads: by which consumer, and a good message of its kind."""

    name: str
    consumer: Consumer
    good: Callable[[], Message]


@dataclass(frozen=True)
class Bad:
    """One bad message."""

    how: str
    subject: Subject
    fate: Fate
    body: bytes
    head: bytes = broken.PLAIN


def read_subjects(data_key: vault.Key) -> list[Subject]:
    """Every subject of a stream that a consumer reads."""

    def intake() -> IntakeEvent:
        request = SendNotificationRequest(
            channels=[Channel.PUSH], user_id=CANARY, data=NotificationData(title=CANARY)
        )
        return IntakeEvent.FromString(
            accept.resolve(request, CANARY, "SendNotification", "", 0, data_key).parts[0]
        )

    found = []
    for lane in LANES.values():
        found.append(Subject(subjects.intake(lane), subjects.dispatcher(lane), intake))
        found.append(Subject(subjects.due_intake(lane), subjects.due_dispatcher(lane), intake))
    for channel, lane in product(WORKED, LANES.values()):
        name = NAMES[channel]
        for subject, consumer in (
            (subjects.delivery(name, lane), subjects.worker(name, lane)),
            (subjects.due(name, lane), subjects.retrier(name, lane)),
        ):
            found.append(Subject(subject, consumer, lambda channel=channel: delivery(channel)))  # type: ignore[misc]
    record, bury = subjects.recorder(), subjects.undertaker()
    for channel in WORKED:
        name = NAMES[channel]
        found.append(Subject(subjects.event(name), record, lambda channel=channel: outcome(channel)))  # type: ignore[misc]
        found.append(Subject(subjects.callback(name), record, lambda channel=channel: callback(channel)))  # type: ignore[misc]
        found.append(Subject(subjects.dead(name), bury, lambda channel=channel: letter(channel)))  # type: ignore[misc]
    found.append(Subject(subjects.decided("sms"), record, lambda: outcome(Channel.SMS)))
    found.append(Subject(subjects.DEAD_DISPATCH, bury, lambda: letter(Channel.SMS)))
    return found


def delivery(channel: Channel.Type.ValueType) -> DeliveryEvent:
    """A delivery that no row stands behind."""
    notification_id = ids.fresh_notification()
    return DeliveryEvent(
        delivery_id=ids.delivery(notification_id, CANARY, NAMES[channel]), notification_id=notification_id,
        user_id=CANARY, channel=channel, priority=Priority.NORMAL,
    )  # fmt: skip


def outcome(channel: Channel.Type.ValueType) -> OutcomeEvent:
    """What became of it."""
    of = delivery(channel)
    made = OutcomeEvent(
        delivery_id=of.delivery_id, notification_id=of.notification_id, user_id=CANARY, channel=channel,
        state=DeliveryState.DELIVERED_TO_PROVIDER, reason=CANARY, attempt=1,
    )  # fmt: skip
    made.occur_time.GetCurrentTime()
    return made


def callback(channel: Channel.Type.ValueType) -> CallbackEvent:
    """What its provider said later."""
    of = delivery(channel)
    made = CallbackEvent(
        callback_id=secrets.token_hex(16), delivery_id=of.delivery_id, notification_id=of.notification_id,
        channel=channel, provider=CANARY, type=CallbackType.DELIVERED, reason=CANARY,
    )  # fmt: skip
    made.occur_time.GetCurrentTime()
    made.receive_time.GetCurrentTime()
    return made


def letter(channel: Channel.Type.ValueType) -> DeadLetter:
    """Its dead letter."""
    made = DeadLetter(reason="PROVIDER_TERMINAL", delivery=delivery(channel), error=CANARY, claims=1)
    made.create_time.GetCurrentTime()
    return made


def live(data_key: vault.Key) -> LiveEvent:
    """A live event for somebody's sockets."""
    return LiveEvent(
        user_id=CANARY, event="typing", content=vault.seal(data_key, b'{"a":"%b"}' % CANARY.encode())
    )


def disconnect() -> DisconnectEvent:
    """Closes the sockets of somebody who has none."""
    return DisconnectEvent(user_id=CANARY, session_id=CANARY)


# -- spoiling


def _random(spoiler: Spoiler, most: int = 300) -> bytes:
    return spoiler.raw(most) + CANARY.encode()


def of_newer_code(good: Message) -> Iterator[bytes]:
    """The same with a value that is not known, and as newer code might have written it."""
    again = type(good)()
    again.CopyFrom(good)
    match again:
        case IntakeEvent():
            again.category = _UNKNOWN  # type: ignore[assignment]
        case DeliveryEvent():
            again.priority = _UNKNOWN  # type: ignore[assignment]
        case OutcomeEvent():
            again.state = _UNKNOWN  # type: ignore[assignment]
        case CallbackEvent():
            again.type = _UNKNOWN  # type: ignore[assignment]
        case DeadLetter():
            again.delivery.channel = _UNKNOWN  # type: ignore[assignment]
    yield again.SerializeToString()
    again.CopyFrom(good)
    again.needs_version = newer.VERSION + 1  # type: ignore[attr-defined]
    yield again.SerializeToString()


def unreadable(subject: Subject, spoiler: Spoiler, size: int) -> Iterator[Bad]:
    """Messages that nobody can take for anything; the large one has `size` bytes."""
    whole = subject.good().SerializeToString()
    bodies = {
        "random bytes": _random(spoiler),
        "nothing": b"",
        "text": CANARY.encode(),
        "the first half": whole[: len(whole) // 2],
        "huge": spoiler.chance.randbytes(size - len(CANARY)) + CANARY.encode(),
    }
    for how, body in bodies.items():
        yield Bad(how, subject, Fate.UNREADABLE, body)
    for how, head in broken.HEADERS.items():
        yield Bad(f"headers: {how}", subject, Fate.UNREADABLE, _random(spoiler), head)


def looks_newer(subject: Subject) -> Iterator[Bad]:
    """Messages that newer code may have written."""
    for how, body in zip(
        ("a value that is not known", "a version"), of_newer_code(subject.good()), strict=True
    ):
        yield Bad(how, subject, Fate.NEWER, body)


def by_chance(subject: Subject, others: list[Subject], spoiler: Spoiler) -> Iterator[Bad]:
    """Messages that may be read as something, or not: altered, and of another kind."""
    yield Bad("altered", subject, Fate.ANY, spoiler.altered(subject.good().SerializeToString()))
    other = spoiler.chance.choice(others).good()
    yield Bad(f"a {type(other).__name__}", subject, Fate.ANY, other.SerializeToString())
    senseless = spoiler.message(subject.good().DESCRIPTOR)  # type: ignore[arg-type]
    yield Bad("senseless", subject, Fate.ANY, senseless.SerializePartialToString())
