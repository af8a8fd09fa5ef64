"""What becomes of a delivery, as pure functions: what can be said before an attempt, and what its outcome
means after it. Nothing here reads or writes."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

from crown import backoff
from crown.ledger import Change, Entry
from crown.notification.v1.types_pb2 import DeliveryState
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.unknown import resends_allowed

# A message that came this much more often than its claims explain has killed workers before they claimed.
KILLED_MOST = 8
# JetStream's schedules tick once a second, so that one may come a little before its time by our clock.
_EARLY = timedelta(seconds=1)


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
    )


def final(entry: Entry, state: DeliveryState.Type.ValueType, reason: str) -> Change:
    """The change that ends the delivery without another attempt."""
    return replace(as_is(entry), state=state, reason=reason, due_time=None)


def vet(entry: Entry, redeliveries: int, moment: datetime) -> Change | None:
    """What can be said of a delivery before anything is looked up; None: go on and attempt it.
    `redeliveries` is how often its message has come."""
    if entry.final:
        return as_is(entry)
    if entry.due_time is not None and entry.due_time > moment + _EARLY:
        # Its retry is scheduled, or was about to be when its worker died: schedule it (again).
        return as_is(entry)
    if entry.expire_time is not None and entry.expire_time <= moment:
        return final(entry, DeliveryState.EXPIRED, "EXPIRED")
    if not entry.claims and redeliveries > KILLED_MOST:
        return final(entry, DeliveryState.FAILED, "POISON_KILLED_WORKER")
    return None


def judge(entry: Entry, provider: str, outcome: Outcome, moment: datetime, chance: random.Random) -> Change:
    """The change that `outcome` makes, with the attempt counted."""
    change = Change(
        entry.event,
        DeliveryState.RETRYING,
        attempts=entry.attempts + 1,
        claims=entry.claims + 1,
        unknowns=entry.unknowns,
        provider=provider,
        done=entry.done,
    )
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
            return _later(entry, waiting, backoff.delay_s(change.claims, after_s, chance), moment)
        case Retry(error, after_s, done):
            failed = replace(change, reason=error, done=(*entry.done, *done))
            return _again_or_give_up(entry, failed, after_s, moment, chance)
        case Unknown(error, done):
            unclear = replace(change, unknowns=entry.unknowns + 1, done=(*entry.done, *done))
            if unclear.unknowns > resends_allowed(entry.event.channel, entry.category):
                return replace(unclear, state=DeliveryState.UNKNOWN, reason=f"OUTCOME_UNKNOWN: {error}")
            return _again_or_give_up(entry, replace(unclear, reason=error), None, moment, chance)


def _again_or_give_up(
    entry: Entry, change: Change, after_s: float | None, moment: datetime, chance: random.Random
) -> Change:
    if change.attempts >= backoff.ATTEMPTS_MOST:
        reason = f"RETRIES_EXHAUSTED: {change.reason}"
        return replace(change, state=DeliveryState.FAILED, reason=reason)
    return _later(entry, change, backoff.delay_s(change.attempts, after_s, chance), moment)


def _later(entry: Entry, change: Change, wait_s: float, moment: datetime) -> Change:
    due = moment + timedelta(seconds=wait_s)
    if entry.expire_time is not None and due >= entry.expire_time:
        return replace(change, state=DeliveryState.EXPIRED, reason=f"EXPIRED: {change.reason}")
    return replace(change, due_time=due)
