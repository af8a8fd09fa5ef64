"""Every subject, stream and consumer on the bus: names and settings stand here and nowhere else.

| stream              | holds                                   | promise                                  |
| ------------------- | --------------------------------------- | ---------------------------------------- |
| INTAKE_<lane>       | accepted notifications                  | fsynced before the sender hears "yes"    |
| DELIVERY_<lane>     | deliveries to work on                   | fsynced                                  |
| RETRY               | deliveries that are due later           | fsynced; a ledger row stands behind each |
| SCHEDULE            | notifications that are due later        | fsynced                                  |
| REALTIME            | what sockets get, for a few hours       | a cache; the inbox is the truth          |
| REVOKED             | sessions that were ended, for 8 days    | fsynced                                  |
| EVENT               | outcomes and callbacks, for days        | fsynced                                  |
| DEAD                | what nobody will try again by itself    | fsynced, until the store has it          |
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crown.notification.v1.types_pb2 import Channel, Priority

LANES: dict[Priority.Type.ValueType, str] = {
    Priority.CRITICAL: "critical",
    Priority.NORMAL: "normal",
    Priority.BULK: "bulk",
}
CHANNELS: dict[Channel.Type.ValueType, str] = {
    Channel.REAL_TIME: "real_time",
    Channel.PUSH: "push",
    Channel.EMAIL: "email",
    Channel.SMS: "sms",
    Channel.IN_APP: "in_app",
}
# Those, and the one that leads back to senders.
NAMES: dict[Channel.Type.ValueType, str] = {**CHANNELS, Channel.WEBHOOK: "webhook"}
# The channels to people that a service of their own delivers on.
DELIVERED: tuple[Channel.Type.ValueType, ...] = (Channel.PUSH, Channel.EMAIL, Channel.SMS)
# All that an engine works on.
WORKED = (*DELIVERED, Channel.WEBHOOK)

RETRY = "RETRY"
SCHEDULE = "SCHEDULE"
# Stands in the place of a person's tag.
SEVERAL = "several"
REALTIME = "REALTIME"
REVOKED = "REVOKED"
EVENT = "EVENT"
DEAD = "DEAD"
EVENTS = "crown.event.>"
REVOCATIONS = "crown.revoked.>"
DEAD_DISPATCH = "crown.dead.dispatch"
# Where realtime nodes hear what is for everybody; kept nowhere. No topic is heard there: those have two tokens more.
EVERYONE = "crown.live.everyone"
# Where realtime nodes that operators watch ask every process how it is, and where the answers go; kept nowhere.
VITALS_ASKED = "crown.vitals.asked"
VITALS_TOLD = "crown.vitals.told"

_DAY_S = 86_400
# How long a socket can recover what it missed, and how many events of each topic.
LIVE_KEPT_S = 4 * 3600
LIVE_KEPT_EACH = 100
# A day longer than any token is good, see crown/token.py: clocks differ, and no token is to outlive its revocation.
REVOKED_KEPT_S = 8 * _DAY_S

# What ids of ours are made of: none of it means anything in a subject.
_ID = re.compile(r"[A-Za-z0-9-]{1,128}")

TOPIC_KINDS = ("user", "group", "chat", "ops")


def token(user_supplied: str) -> str:
    """`user_supplied` as one token of a subject: no dot, wildcard or space gets through."""
    return urlsafe_b64encode(user_supplied.encode()).rstrip(b"=").decode()


def covers(pattern: str, subject: str) -> bool:
    """Whether `pattern`, which may have wildcards, takes `subject`, which may have some, too: then all that it
    takes."""
    wanted, given = pattern.split("."), subject.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(given) > at
        if at >= len(given) or given[at] == ">" or (part != "*" and part != given[at]):
            return False
    return len(wanted) == len(given)


def intake_stream(lane: str) -> str:
    """The stream of accepted notifications."""
    return f"INTAKE_{lane}"


def delivery_stream(lane: str) -> str:
    """The stream of deliveries to work on."""
    return f"DELIVERY_{lane}"


def intake(lane: str) -> str:
    """Where accepted notifications go."""
    return f"crown.intake.{lane}"


def delivery(channel: str, lane: str) -> str:
    """Where a channel finds its work."""
    return f"crown.delivery.{channel}.{lane}"


def due(channel: str, lane: str) -> str:
    """Where a channel finds retries whose time has come."""
    return f"crown.due.{channel}.{lane}"


def retry(channel: str, delivery_id: str) -> str:
    """Where the next attempt of one delivery waits; one message a subject. Raises ValueError where the id is none
    of ours."""
    return f"crown.retry.{channel}.{_own(delivery_id)}"


def schedule(notification_id: str, part: str, whom: str) -> str:
    """Where a part of one notification waits until it is to be sent; one message a subject. `whom` is the tag of the
    one person that it is for, or SEVERAL. Raises ValueError where the id is none of ours."""
    return f"crown.schedule.{_own(notification_id)}.{part}.{whom}"


def schedules(notification_id: str) -> str:
    """All parts of one notification that wait. Raises ValueError where the id is none of ours: one that is a wildcard
    would name those of everybody."""
    return f"crown.schedule.{_own(notification_id)}.>"


def schedules_for(whom: str) -> str:
    """All that waits for one person alone, by their tag; with SEVERAL, what waits for several or for a group."""
    return f"crown.schedule.*.*.{whom}"


def is_own(identifier: str) -> bool:
    """Whether it may be an id of ours."""
    return bool(_ID.fullmatch(identifier))


def _own(identifier: str) -> str:
    if not is_own(identifier):
        raise ValueError("an id on the bus has letters, digits and - only")
    return identifier


def due_intake(lane: str) -> str:
    """Where dispatch finds notifications whose time has come."""
    return f"crown.due_intake.{lane}"


def event(channel: str) -> str:
    """Where outcomes are told."""
    return f"crown.event.outcome.{channel}"


def decided(channel: str) -> str:
    """Where it is told what dispatch itself brought to an end, of notifications whose sender wants to hear."""
    return f"crown.event.decided.{channel}"


def callback(channel: str) -> str:
    """Where it is told what providers said later."""
    return f"crown.event.callback.{channel}"


def dead(channel: str) -> str:
    """Where deliveries go that nobody will try again by itself."""
    return f"crown.dead.{channel}"


def source(stream: str, channel: str) -> str:
    """Where what came from `stream` is published again: to the intake it was accepted in, or to the work of
    `channel`. Empty where the stream is neither."""
    for lane in LANES.values():
        if stream == intake_stream(lane):
            return intake(lane)
        if stream == delivery_stream(lane) and channel in NAMES.values():
            return delivery(channel, lane)
    # Which lane it came by, the streams of what was put off do not say.
    if stream == SCHEDULE:
        return intake(LANES[Priority.BULK])
    return delivery(channel, LANES[Priority.BULK]) if stream == RETRY and channel in NAMES.values() else ""


def user_topic(user_id: str) -> str:
    """The topic of one person; groups and chats have `group:<id>` and `chat:<id>`."""
    return f"user:{user_id}"


def live_source(topic: str) -> str:
    """Where events for the sockets on `topic` are published, into REALTIME."""
    return f"crown.rt.{_topic(topic)}"


def live(topic: str) -> str:
    """Where realtime nodes hear them, with the stream's sequence, and ephemeral ones without."""
    return f"crown.live.{_topic(topic)}"


def _topic(topic: str) -> str:
    kind, _, name = topic.partition(":")
    if kind not in TOPIC_KINDS or not name:
        raise ValueError(f"topics are {', '.join(f'{known}:<id>' for known in TOPIC_KINDS)}")
    return f"{kind}.{token(name)}"


def revoked(user_id: str, session_id: str) -> str:
    """Where it is told that sockets are to be closed: one message a session, or `_` for all of a person."""
    return f"crown.revoked.{token(user_id)}.{token(session_id) or '_'}"


def revoked_caller(use: str, subject: str) -> str:
    """Where it is told that the tokens of a service or operator are good no longer; `use` is which of the two."""
    return f"crown.revoked.{token(subject)}._.{use}"


def closed(user_id: str, session_id: str) -> str:
    """Where it is told that sockets are to be closed whose tokens stay good. Not where revocations are told: of
    each subject the last message is kept, and a node that starts later would never hear of the revocation."""
    return f"{revoked(user_id, session_id)}.kept"


def longpoll(node: str) -> str:
    """Where a realtime process hears requests for its long-poll sessions that reached another one; kept nowhere.
    Raises ValueError where the name is none of ours."""
    return f"crown.longpoll.{_own(node)}"


def streams(max_bytes: int, replicas: int = 1) -> list[dict[str, Any]]:
    """The settings of every stream, as JetStream's API takes them; `max_bytes` bounds each that refuses, and
    `replicas` servers hold each."""
    return [{"num_replicas": replicas, **stream} for stream in _streams(max_bytes, replicas)]


def _streams(max_bytes: int, replicas: int) -> list[dict[str, Any]]:
    lanes = LANES.values()
    # A stream at its bound refuses, so that the sender hears it; the usual policy would delete the oldest.
    refusing = {"discard": "new", "max_bytes": max_bytes, "allow_atomic": True}
    # With schedules the server takes no other policy than deleting the oldest; so there is no bound at which
    # it could, since a schedule that is deleted is a notification that is lost.
    scheduling = {"discard": "old", "allow_msg_schedules": True, "allow_rollup_hdrs": True}
    return [
        *({"name": intake_stream(lane), "subjects": [intake(lane)], **refusing} for lane in lanes),
        *({"name": delivery_stream(lane), "subjects": [delivery("*", lane)], **refusing} for lane in lanes),
        {"name": RETRY, "subjects": ["crown.retry.>", "crown.due.*.*"], **scheduling},
        {"name": SCHEDULE, "subjects": ["crown.schedule.>", "crown.due_intake.*"], **scheduling},
        {
            "name": REALTIME,
            "subjects": ["crown.rt.>"],
            "discard": "old",
            # Where one server alone holds it: several write it down before they answer, whatever is asked.
            **({"persist_mode": "async"} if replicas == 1 else {}),
            "max_age": LIVE_KEPT_S * 10**9,
            "max_msgs_per_subject": LIVE_KEPT_EACH,
            "republish": {"src": "crown.rt.>", "dest": "crown.live.>"},
            "max_bytes": max_bytes,
            "allow_direct": True,
        },
        {
            "name": REVOKED,
            "subjects": [REVOCATIONS],
            "discard": "old",
            "max_age": REVOKED_KEPT_S * 10**9,
            "max_msgs_per_subject": 1,
            "max_bytes": max_bytes,
            "allow_direct": True,
        },
        {
            "name": EVENT,
            "subjects": [EVENTS],
            "discard": "old",
            "max_age": 7 * _DAY_S * 10**9,
            "max_bytes": max_bytes,
            "allow_atomic": True,
        },
        {"name": DEAD, "subjects": ["crown.dead.>"], "discard": "new", "max_bytes": max_bytes},
    ]


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable pull consumer."""

    stream: str
    name: str
    subject: str
    # Seconds after which an unsettled message goes to another worker. Calls to providers end within a third.
    ack_wait_s: int = 30
    # Messages that all workers together may hold unsettled.
    max_ack_pending: int = 4_096

    def settings(self) -> dict[str, Any]:
        """As JetStream takes them. The engine decides when to give up, so `max_deliver` has no bound."""
        return {
            "durable_name": self.name,
            "filter_subject": self.subject,
            "ack_policy": "explicit",
            "ack_wait": self.ack_wait_s * 10**9,
            "max_ack_pending": self.max_ack_pending,
            "max_deliver": -1,
            "deliver_policy": "all",
            "max_waiting": 512,
        }


def dispatcher(lane: str) -> Consumer:
    """Dispatch's consumer of accepted notifications."""
    return Consumer(intake_stream(lane), "dispatch", intake(lane), ack_wait_s=20)


def due_dispatcher(lane: str) -> Consumer:
    """Dispatch's consumer of notifications whose time has come."""
    return Consumer(SCHEDULE, f"dispatch_{lane}", due_intake(lane), ack_wait_s=20)


def worker(channel: str, lane: str) -> Consumer:
    """A channel's consumer of deliveries."""
    return Consumer(delivery_stream(lane), channel, delivery(channel, lane))


def retrier(channel: str, lane: str) -> Consumer:
    """A channel's consumer of retries whose time has come."""
    return Consumer(RETRY, f"{channel}_{lane}", due(channel, lane))


def recorder() -> Consumer:
    """The recorder's consumer of outcomes and callbacks."""
    return Consumer(EVENT, "record", EVENTS)


def undertaker() -> Consumer:
    """Who brings dead letters into the store."""
    return Consumer(DEAD, "undertaker", "crown.dead.>")


def readers() -> Iterator[Consumer]:
    """Every consumer that is the only one to read its subject: what it has settled is of no more use."""
    yield undertaker()
    for lane in LANES.values():
        yield dispatcher(lane)
        yield due_dispatcher(lane)
        for channel in WORKED:
            yield worker(NAMES[channel], lane)
            yield retrier(NAMES[channel], lane)
