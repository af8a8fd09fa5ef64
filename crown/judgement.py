"""What becomes of a delivery, as pure functions: what can be said before an attempt, and what its outcome
means after it. Nothing here reads or writes."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from crown import backoff
from crown.ledger import Change, Entry
from crown.notification.v1.types_pb2 import DeliveryState
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.unknown import USUAL, Policy

# So many workers may die of one delivery before it is put aside.
KILLED_MOST = 4
POISON = "POISON_KILLED_WORKER"
# JetStream's schedules tick once a second, so that one may come a little before its time by our clock.
_EARLY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Rules:
    """What one deployment decides about deliveries."""

    # After this long a delivery has expired, whatever its notification says.
    most_age: timedelta = timedelta(hours=72)
    unknown: Policy = USUAL

    def expire_time(self, entry: Entry) -> datetime:
        """When the delivery stops being worth sending."""
        oldest = entry.begin_time + self.most_age
        return min(entry.expire_time, oldest) if entry.expire_time else oldest


def as_is(entry: Entry) -> Change:
    """The change that changes nothing."""
    return Change(
        entry.event,
        entry.state,
        entry.reason,
        entry.attempts,
        entry.claims,
        entry.unknowns,
        entry.provider,
        entry.provider_message_id,
        entry.due_time,
        entry.done,
        entry.kills,
    )


def final(entry: Entry, state: DeliveryState.Type.ValueType, reason: str) -> Change:
    """The change that ends the delivery without another attempt."""
    return replace(as_is(entry), state=state, reason=reason, due_time=None)


def poisoned(entry: Entry) -> Change:
    """The change that puts a delivery aside that kills workers before they claim it. Its next attempt has another
    number, under which nobody has died yet."""
    return replace(final(entry, DeliveryState.FAILED, POISON), claims=entry.claims + 1)


def vet(entry: Entry, moment: datetime, rules: Rules) -> Change | None:
    """What can be said of a delivery before anything is looked up; None: go on and attempt it."""
    if entry.final:
        return as_is(entry)
    if entry.cancelled:
        return final(entry, DeliveryState.CANCELLED, "")
    if entry.due_time is not None and entry.due_time > moment + _EARLY:
        # Its retry is scheduled, or was about to be when its worker died: schedule it (again).
        return as_is(entry)
    if rules.expire_time(entry) <= moment:
        return final(entry, DeliveryState.EXPIRED, "EXPIRED")
    return None


def judge(
    entry: Entry,
    provider: str,
    outcome: Outcome,
    moment: datetime,
    chance: random.Random,
    rules: Rules,
    *,
    killed: bool = False,
) -> Change:
    """The change that `outcome` makes, with the attempt counted. `killed`: the worker that made it is gone, and
    `outcome` is what could be learnt since."""
    change = Change(
        entry.event,
        DeliveryState.RETRYING,
        attempts=entry.attempts + 1,
        claims=entry.claims + 1,
        unknowns=entry.unknowns,
        provider=provider,
        done=entry.done,
        kills=entry.kills + 1 if killed else 0,
        detail="" if isinstance(outcome, Delivered) else outcome.error,
    )
    later = _Later(entry, moment, chance, rules)
    match outcome:
        case Delivered(message_id):
            return replace(change, state=DeliveryState.DELIVERED_TO_PROVIDER, provider_message_id=message_id)
        case Discard() if entry.done:
            # The rest of the person's devices are gone; an earlier attempt reached one.
            return replace(change, state=DeliveryState.DELIVERED_TO_PROVIDER)
        case Discard(reason, error):
            told = f"{reason}: {error}" if error else reason
            return replace(change, state=DeliveryState.FAILED, reason=told)
        case Snooze(error, after_s, done):
            waiting = replace(change, attempts=entry.attempts, reason=error, done=(*entry.done, *done))
            # It costs no attempt, but who says nothing of when is not asked every two seconds for ever.
            return later.due(waiting, change.claims, after_s)
        case Retry(error, after_s, done):
            return later.again(replace(change, reason=error, done=(*entry.done, *done)), after_s)
        case Unknown(error, done):
            unclear = replace(change, unknowns=entry.unknowns + 1, done=(*entry.done, *done))
            if unclear.unknowns > rules.unknown.resends_allowed(entry.event.channel, entry.category):
                return replace(unclear, state=DeliveryState.UNKNOWN, reason=f"OUTCOME_UNKNOWN: {error}")
            return later.again(replace(unclear, reason=error), None)


@dataclass(frozen=True, slots=True)
class _Later:
    """Whether there is a next attempt, and when."""

    entry: Entry
    moment: datetime
    chance: random.Random
    rules: Rules

    def again(self, change: Change, after_s: float | None) -> Change:
        if change.kills >= KILLED_MOST:
            return replace(change, state=DeliveryState.FAILED, reason=POISON)
        if change.attempts >= backoff.ATTEMPTS_MOST:
            reason = f"RETRIES_EXHAUSTED: {change.reason}"
            return replace(change, state=DeliveryState.FAILED, reason=reason)
        return self.due(change, change.attempts, after_s)

    def due(self, change: Change, failures: int, after_s: float | None) -> Change:
        due = self.moment + timedelta(seconds=backoff.delay_s(failures, after_s, self.chance))
        if due >= self.rules.expire_time(self.entry):
            return replace(change, state=DeliveryState.EXPIRED, reason=f"EXPIRED: {change.reason}")
        return replace(change, due_time=due)
