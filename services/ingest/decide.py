"""Who gets what where and when: pure decisions, one for each person and channel, each with a reason.

Where several rules apply, each begins where the one before it ends: first what the sender asks (`local_time`, an
escalation's wait), then the digest that falls due after that, then the quiet hours that hold at that moment. Quiet
hours and digests hold back what makes a sound: push, e-mail and SMS. The inbox and open sockets are for who is
looking, and wait for `local_time` only. Security passes all that a person can choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crown import catalogue, choices, quiet_hours
from crown.choices import LOUD, NOTHING, Cap, Choices
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState
from crown.subjects import CHANNELS, DELIVERED


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens on one channel, and why where it is not simply sent."""

    channel: Channel.Type.ValueType
    state: DeliveryState.Type.ValueType
    reason: str = ""
    # When what is DEFERRED is due.
    due_time: datetime | None = None
    # The digest that it becomes an item of; empty: of none.
    digest: str = ""
    # True: an escalation, which does not go out where the person has read it by then.
    unless_read: bool = False

    @property
    def open(self) -> bool:
        """True where a channel service has work to do."""
        return self.state == DeliveryState.PENDING


@dataclass(frozen=True, slots=True)
class Asked:
    """What the sender asks for."""

    channels: tuple[Channel.Type.ValueType, ...]
    category: Category.Type.ValueType
    kind: str = ""
    # From when on it may go out: its create_time, or its send_at; None: now.
    since: datetime | None = None
    expire_time: datetime | None = None
    # "09:00" of each person's day; empty: at once.
    local_time: str = ""
    # Channels that follow where it is not read in time, and how long after it was sent.
    escalations: tuple[tuple[Channel.Type.ValueType, timedelta], ...] = ()

    @property
    def passes(self) -> bool:
        """Whether it is not held back by what a person chose."""
        return self.category == Category.SECURITY

    @property
    def wakes(self) -> bool:
        """Whether it goes out in quiet hours."""
        return self.passes or catalogue.kind_or_default(self.kind).passes_quiet_hours

    @property
    def digestable(self) -> bool:
        """Whether it may be an item of a digest."""
        return not self.passes and catalogue.kind_or_default(self.kind).digestable


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of the person that is decided about."""

    user_id: str = ""
    choices: Choices = NOTHING
    # The contact's; empty: not known.
    zone: str = ""
    # How many went out in the span of each cap.
    counts: Mapping[Cap, int] = field(default_factory=dict)

    @property
    def time_zone(self) -> str:
        """The zone of their clock: as chosen, else the contact's, else UTC."""
        return self.choices.time_zone or self.zone or "UTC"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that was deferred, as its row has it."""

    channel: Channel.Type.ValueType
    category: Category.Type.ValueType
    kind: str
    reason: str
    expire_time: datetime | None = None
    unless_read: bool = False


def decide(asked: Asked, person: Person, moment: datetime) -> list[Decision]:
    """One decision for each channel, then one for each escalation to a channel that is not among them. Inbox and
    sockets are done when this is written down; the other channels have a service that goes on."""
    begin = _begin(asked, person, moment)
    made = [_decision(asked, person, channel, begin, moment) for channel in asked.channels]
    for channel, after in asked.escalations:
        if channel not in asked.channels:
            # Counted from when it was sent, whenever it was worked on.
            sent = begin if begin > moment else asked.since or moment
            made.append(_escalation(asked, person, channel, sent + after, moment))
    return made


def again(waiting: Waiting, person: Person, moment: datetime, *, read: bool) -> Decision:
    """What becomes of a deferred delivery whose time has come, by what the person wants now: it goes out
    (PENDING, or DELIVERED where that is all there is to do), waits for the end of quiet hours, or is over. `read`:
    the person has read the notification. What waits for a digest goes out here only where the digest does."""
    channel = waiting.channel
    if waiting.expire_time is not None and waiting.expire_time <= moment:
        return Decision(channel, DeliveryState.EXPIRED, f"EXPIRED: {waiting.reason}")
    if refused := choices.refusal(person.choices, waiting.category, channel):
        return Decision(channel, DeliveryState.SUPPRESSED, refused)
    if waiting.unless_read and read:
        return Decision(channel, DeliveryState.SUPPRESSED, "READ")
    asked = Asked((channel,), waiting.category, waiting.kind, expire_time=waiting.expire_time)
    free = _over(asked, person, channel, moment)
    if free > moment:
        return _deferred(asked, channel, "QUIET_HOURS", free, unless_read=waiting.unless_read)
    return Decision(channel, _sent(channel))


@dataclass(frozen=True, slots=True)
class Digest:
    """What one person gets together: of one category, on one channel, at one time."""

    user_id: str
    channel: str
    category: str
    # To the second, RFC 3339.
    due: str

    @classmethod
    def at(cls, user_id: str, channel: str, category: str, due_time: datetime) -> Digest:
        """The one that goes out at `due_time`."""
        return cls(user_id, channel, category, f"{due_time:%Y-%m-%dT%H:%M:%SZ}")

    @classmethod
    def of(cls, digest_id: str) -> Digest:
        """The one with this id. User ids may hold a bar, the other parts hold none."""
        return cls(*digest_id.rsplit("|", 3))

    @property
    def id(self) -> str:
        """What its items carry."""
        return f"{self.user_id}|{self.channel}|{self.category}|{self.due}"


def _begin(asked: Asked, person: Person, moment: datetime) -> datetime:
    """When it goes out, as far as its sender says."""
    if not asked.local_time:
        return moment
    minute = quiet_hours.minutes(asked.local_time)
    return max(moment, quiet_hours.next_at(person.time_zone, minute, asked.since or moment))


def _decision(
    asked: Asked, person: Person, channel: Channel.Type.ValueType, begin: datetime, moment: datetime
) -> Decision:
    if over := _over_already(asked, person, channel, moment):
        return over
    name, category = CHANNELS[channel], catalogue.CATEGORIES[asked.category]
    digest = choices.digest(person.choices, category, name) if asked.digestable else None
    if digest is not None:
        end = quiet_hours.window_end(digest, person.time_zone, begin)
        due = _over(asked, person, channel, end)
        return _deferred(
            asked, channel, "DIGEST", due, digest=Digest.at(person.user_id, name, category, due).id
        )
    for cap in choices.caps(person.choices, category, name):
        if person.counts.get(cap, 0) >= cap.most:
            return Decision(channel, DeliveryState.SUPPRESSED, "FREQUENCY_CAP")
    due = _over(asked, person, channel, begin)
    if due > begin:
        return _deferred(asked, channel, "QUIET_HOURS", due)
    if due > moment:
        return _deferred(asked, channel, "LOCAL_TIME", due)
    return Decision(channel, _sent(channel))


def _escalation(
    asked: Asked, person: Person, channel: Channel.Type.ValueType, due: datetime, moment: datetime
) -> Decision:
    """Whether quiet hours hold then is asked when it is due."""
    return _over_already(asked, person, channel, moment) or _deferred(
        asked, channel, "ESCALATION", max(due, moment), unless_read=True
    )


def _over_already(
    asked: Asked, person: Person, channel: Channel.Type.ValueType, moment: datetime
) -> Decision | None:
    if asked.expire_time is not None and asked.expire_time <= moment:
        return Decision(channel, DeliveryState.EXPIRED, "EXPIRED")
    refused = choices.refusal(person.choices, asked.category, channel)
    return Decision(channel, DeliveryState.SUPPRESSED, refused) if refused else None


def _over(asked: Asked, person: Person, channel: Channel.Type.ValueType, moment: datetime) -> datetime:
    """The first moment from `moment` on at which quiet hours do not hold it back."""
    if not person.choices.quiet_hours or asked.wakes or CHANNELS[channel] not in LOUD:
        return moment
    return quiet_hours.over(person.choices.quiet_hours, person.time_zone, moment)


def _deferred(
    asked: Asked,
    channel: Channel.Type.ValueType,
    reason: str,
    due: datetime,
    *,
    digest: str = "",
    unless_read: bool = False,
) -> Decision:
    """Deferred; no longer than it is worth sending, so that its end is told in time."""
    if asked.expire_time is not None:
        due = min(due, asked.expire_time)
    return Decision(channel, DeliveryState.DEFERRED, reason, due, digest, unless_read)


def _sent(channel: Channel.Type.ValueType) -> DeliveryState.Type.ValueType:
    return DeliveryState.PENDING if channel in DELIVERED else DeliveryState.DELIVERED
