"""The desk of the SMS channel: what every channel to people asks, and then the gate."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

from crown.desk import Desk
from crown.judgement import Rules, as_is, final
from crown.ledger import Change, Entry
from crown.notification.v1.types_pb2 import Category, DeliveryState, Priority
from crown.provider import Attempt
from services.sms.caps import Reached
from services.sms.gate import Gate

# Seconds over which those that waited for the same window are spread.
_SPREAD_S = 120.0


class SmsDesk:
    """Asks `inner` first, so that nothing is spent on who does not want it."""

    def __init__(self, inner: Desk, gate: Gate, rules: Rules, chance: random.Random) -> None:
        self._inner = inner
        self._gate = gate
        self._rules = rules
        self._chance = chance

    async def prepare(self, entry: Entry) -> Attempt | Change:
        """As Desk says."""
        attempt = await self._inner.prepare(entry)
        if isinstance(attempt, Change):
            return attempt
        number = attempt.destinations[0].address
        if why := self._gate.refusal(number, attempt.data):
            return final(entry, DeliveryState.FAILED, why)
        reached = await self._gate.reserve(
            f"{attempt.delivery_id}:{attempt.number}",
            number,
            attempt.data,
            entry.sender,
            urgent=entry.category == Category.SECURITY or entry.event.priority == Priority.CRITICAL,
        )
        return attempt if reached is None else self._stopped(entry, reached)

    def _stopped(self, entry: Entry, reached: Reached) -> Change:
        """No attempt is counted: no provider was asked."""
        reason = f"CAP_REACHED: {reached.cap}"
        if reached.until is None:
            return final(entry, DeliveryState.FAILED, reason)
        due = reached.until + timedelta(seconds=self._chance.uniform(0, _SPREAD_S))
        if due >= self._rules.expire_time(entry):
            return final(entry, DeliveryState.EXPIRED, f"EXPIRED: {reason}")
        return replace(as_is(entry), state=DeliveryState.RETRYING, reason=reason, due_time=due)
