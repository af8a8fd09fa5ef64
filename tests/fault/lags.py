"""How long things took before, during and after a fault, from what clients and providers have written down. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crown import ids
from tests.fault.evidence import Evidence, Span
from tests.fault.history import Answer, Sent


@dataclass(frozen=True, slots=True)
class Lag:
    """Of `count` things; 0 s where there were none."""

    count: int
    p50_s: float
    p99_s: float

    @classmethod
    def of(cls, durations_s: Iterable[float]) -> Lag:
        """Percentiles as the least duration that so many did not exceed."""
        found = sorted(durations_s)
        return cls(len(found), _at(found, 0.5), _at(found, 0.99))


@dataclass(frozen=True, slots=True)
class Lags:
    """Of what had ended when the fault began, of what was under way at any moment of it, and of what began after it:
    what a fault held up does not count as the time before."""

    before: Lag
    during: Lag
    after: Lag


def answers(history: Sequence[Sent], fault: Span | None) -> Lags:
    """From the first attempt until the client heard yes, however often it asked."""
    return _lags(
        (
            (sent.attempts[0].began, attempt.ended)
            for sent in history
            for attempt in sent.attempts
            if attempt.answer is Answer.ACCEPTED
        ),
        fault,
    )


def handed(history: Sequence[Sent], evidence: Evidence, fault: Span | None, channel: str = "") -> Lags:
    """From the first attempt until it was at a provider, for the first time; of one channel, or of all."""
    arrived: dict[str, float] = {}
    for effect in evidence.effects:
        arrived[effect.delivery_id] = min(arrived.get(effect.delivery_id, math.inf), effect.time)
    return _lags(
        (
            (sent.attempts[0].began, arrived[delivery])
            for sent in history
            if sent.attempts and channel in ("", sent.request.channel)
            for user in sent.request.users
            if (delivery := ids.delivery(sent.request.notification_id, user, sent.request.channel)) in arrived
        ),
        fault,
    )


def _lags(times: Iterable[tuple[float, float]], fault: Span | None) -> Lags:
    before: list[float] = []
    during: list[float] = []
    after: list[float] = []
    for began, ended in times:
        where = after
        if fault is None or ended < fault.begin:
            where = before
        elif began <= fault.end:
            where = during
        where.append(max(0.0, ended - began))
    return Lags(Lag.of(before), Lag.of(during), Lag.of(after))


def _at(found: Sequence[float], part: float) -> float:
    return found[math.ceil(part * len(found)) - 1] if found else 0.0
