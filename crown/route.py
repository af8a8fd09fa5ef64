"""Which provider makes an attempt: the providers of one channel with what is known about each. Chosen by weight among
those that are well, a retry by another one than the last; nothing here waits, and nothing is tried twice.

What is counted as a failure of the provider: Retry and Unknown. Not Discard, which is an answer, and not Snooze: a
provider that asks to be left alone is, by every delivery of this process."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from crown import backoff, logs, metrics, time_limit, tracing
from crown.circuit import Call, Circuit, Limits, State
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown, without, word
from crown.provider import Attempt, Provider
from crown.rates import Rates

log = logs.get(__name__)

# A provider ends its calls by itself, and knows then how far they came. This much later it has not.
_MARGIN_S = 1.0
# Words for why attempts fail that are told apart.
ERRORS_MOST = 100
# How long a call that the rate allowed may be waited with, before it is asked for anew.
_GRANT_S = 1.0
# Left alone for so long where a provider asks to be and does not say how long.
_HOLD_LEAST_S = 1.0
# How soon a look pays where nobody can say when one will.
_LOOK_S = 0.25
_UNBOUNDED = 1_000_000
_EVENTS = {State.CLOSED: "provider_back", State.PROBING: "provider_probed", State.OPEN: "provider_out"}


@dataclass(slots=True, eq=False)
class _Member:
    provider: Provider
    weight: int
    circuit: Circuit
    calls: int = 0
    # What its rate allows and nobody has used yet.
    granted: int = 0
    granted_until: float = 0.0
    granted_next: float = 0.0
    told: State = field(default=State.CLOSED)


class Turn:
    """One call that a provider is to make: either `send` or `release` it, once."""

    def __init__(self, route: Route, member: _Member, call: Call) -> None:
        self._route = route
        self._member = member
        self._call = call
        self.provider = member.provider

    async def send(self, attempt: Attempt) -> Outcome:
        """Makes the attempt, within the time limit. Never raises for what the provider does."""
        return await self._route._send(self._member, self._call, attempt)

    def release(self) -> None:
        """Gives the call back unmade."""
        self._route._release(self._member, self._call)


class Route:
    """The providers of one channel in the order of preference. `shares` are their weights by name: one without
    stands in for what the others are too ill to take. Left out: the first has all. `most` is what is under way at
    once when all is well, `timeout_s` what one call may take. Closing it closes the providers."""

    def __init__(
        self,
        providers: Sequence[Provider],
        shares: Mapping[str, int] | None = None,
        *,
        channel: str = "",
        rates: Rates | None = None,
        most: int = 128,
        timeout_s: float = 10.0,
        limits: Limits | None = None,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._rates = rates
        self._most = most
        self._timeout_s = timeout_s
        self._errors: set[str] = set()
        self._chance = chance or random.Random()
        self._clock = clock
        limits = limits or Limits(slow_s=timeout_s / 2)
        if len(providers) == 1:
            # Slow is better than nothing.
            limits = replace(limits, slow_s=math.inf)
        shares = shares or {providers[0].name: 1}
        self._members = [
            _Member(provider, shares.get(provider.name, 0), Circuit(limits, self._chance))
            for provider in providers
        ]
        for member in self._members:
            metrics.PROVIDER_STATE.labels(channel, member.provider.name).set(State.CLOSED.value)

    # -- may something begin

    async def room(self, most: int, ahead: int = 0) -> int:
        """How many attempts may begin now, up to `most`, which should not be more than there are, besides `ahead`
        that have begun and not chosen yet. What the rates allow is taken here, for `choose` to use."""
        now = self._clock()
        weights = self._weights(now)
        found = 0
        for member in self._members:
            if weights.get(member) or self._due_for_probe(member, now):
                found += await self._free(member, most + ahead, now)
        return max(0, min(found - ahead, most))

    def wait_s(self) -> float:
        """Seconds until it is worth asking for room again."""
        now = self._clock()
        wait_s = min(self._wait_s(member, now) for member in self._members)
        return _LOOK_S if math.isinf(wait_s) else wait_s

    def out(self) -> bool:
        """True while every provider is out, or asked to be left alone: nothing but a probe may begin."""
        now = self._clock()
        return all(member.circuit.share(now) == 0 for member in self._members)

    def choose(self, last: str = "", tried: Collection[str] = (), *, careful: bool = False) -> Turn | None:
        """The provider for one attempt; None where none may begin now. Rather not `last`, which made the attempt
        before; none of `tried`; and where `careful`, none that is only being probed."""
        now = self._clock()
        able = [
            member
            for member in self._members
            if member.provider.name not in tried and self._able(member, now)
        ]
        for member in able:
            if not careful and self._due_for_probe(member, now):
                return self._begin(member, now)
        weights = self._weights(now)
        pool = [member for member in able if member.circuit.state() is State.CLOSED]
        if not tried:
            others = [member for member in pool if last not in {"", member.provider.name}]
            # What a rate holds back waits: it is no reason to ask a stand-in.
            pool = others or [member for member in pool if weights.get(member)]
        return self._begin(self._pick(pool, weights), now) if pool else None

    async def find(self, name: str, attempt: Attempt, since: datetime) -> Outcome | None:
        """What the provider of this name says became of an attempt, as Provider says; None where it is not here
        any more, or does not answer in time."""
        # Claims of earlier versions name none.
        asked = [m.provider for m in self._members if not name or m.provider.name == name]
        if not asked:
            return None
        try:
            async with asyncio.timeout(self._timeout_s + _MARGIN_S):
                return await asked[0].find(attempt, since)
        except TimeoutError:
            return None

    @property
    def names(self) -> list[str]:
        """The providers' names, in the order of preference."""
        return [member.provider.name for member in self._members]

    async def close(self) -> None:
        """Closes the providers' connections."""
        for member in self._members:
            await member.provider.close()

    # -- who may

    def _wait_s(self, member: _Member, now: float) -> float:
        if (wait_s := member.circuit.wait_s(now)) > 0:
            return wait_s
        if not self._below_share(member, now):
            return _LOOK_S
        if self._limited(member) and not self._grants(member, now):
            return max(0.0, member.granted_next - now)
        return 0.0

    def _weights(self, now: float) -> dict[_Member, float]:
        """What each may get at this moment: its weight as far as it is well, and the first stand-in that is well
        what the others lack."""
        found = {m: m.weight * m.circuit.share(now) for m in self._members if m.weight}
        lacking = sum(member.weight for member in found) - sum(found.values())
        if lacking > 0:
            for member in self._members:
                if not member.weight and (share := member.circuit.share(now)):
                    found[member] = lacking * share
                    break
        return found

    def _pick(self, pool: list[_Member], weights: Mapping[_Member, float]) -> _Member:
        if len(pool) == 1:
            return pool[0]
        found = [weights.get(member, 0.0) for member in pool]
        return self._chance.choices(pool, found)[0] if any(found) else pool[0]

    def _due_for_probe(self, member: _Member, now: float) -> bool:
        return member.circuit.state() is State.OPEN and member.circuit.wait_s(now) == 0

    def _able(self, member: _Member, now: float) -> bool:
        if member.circuit.wait_s(now) > 0 or not self._below_share(member, now):
            return False
        return not self._limited(member) or self._grants(member, now) > 0

    def _below_share(self, member: _Member, now: float) -> int:
        """How many calls may begin besides those under way: one where it is a probe, and a part of what is usual
        while it is coming back."""
        if member.circuit.state() is State.OPEN:
            return 1
        share = member.circuit.share(now)
        return _UNBOUNDED if share == 1 else max(0, max(1, int(share * self._most)) - member.calls)

    async def _free(self, member: _Member, most: int, now: float) -> int:
        free = min(most, self._below_share(member, now))
        if member.circuit.wait_s(now) > 0 or not free:
            return 0
        if self._rates is None or not self._limited(member):
            return free
        if (lacking := free - self._grants(member, now)) > 0 and now >= member.granted_next:
            granted = await self._rates.take(member.provider.name, lacking, now)
            member.granted = self._grants(member, now) + granted.count
            member.granted_until = now + _GRANT_S
            member.granted_next = now + granted.wait_s
        return min(free, self._grants(member, now))

    def _limited(self, member: _Member) -> bool:
        return self._rates is not None and self._rates.limits(member.provider.name)

    def _grants(self, member: _Member, now: float) -> int:
        return member.granted if now < member.granted_until else 0

    # -- a call

    def _begin(self, member: _Member, now: float) -> Turn | None:
        call = member.circuit.begin(now)
        if call is None:
            return None
        member.calls += 1
        if self._limited(member):
            member.granted -= 1
        if call.probe:
            metrics.PROBES.labels(self._channel, member.provider.name).inc()
            self._tell(member)
        return Turn(self, member, call)

    def _release(self, member: _Member, call: Call) -> None:
        member.calls -= 1
        if self._limited(member):
            member.granted += 1
        member.circuit.forget(call)
        self._tell(member)

    async def _send(self, member: _Member, call: Call, attempt: Attempt) -> Outcome:
        outcome: Outcome | None = None
        name = member.provider.name
        try:
            with tracing.span(f"send {name}", tracing.Kind.CLIENT) as step:
                outcome = await self._limited_send(member.provider, attempt)
                if step:
                    self._describe(step, name, attempt, outcome)
        finally:
            member.calls -= 1
            self._learn(member, call, outcome)
        metrics.ATTEMPT.labels(self._channel, name).observe(self._clock() - call.began)
        metrics.OUTCOMES.labels(self._channel, name, type(outcome).__name__).inc()
        if why := word(outcome):
            metrics.ATTEMPT_ERRORS.labels(self._channel, name, self._known(why)).inc()
        return outcome

    def _known(self, why: str) -> str:
        # Words come from providers too, and each is a series for as long as the process lives.
        if len(self._errors) < ERRORS_MOST:
            self._errors.add(why)
        return why if why in self._errors else "OTHER"

    def _describe(
        self, step: tracing.Span | tracing.Nothing, provider: str, attempt: Attempt, outcome: Outcome
    ) -> None:
        step.set(
            notification_id=attempt.notification_id,
            channel=self._channel,
            kind=attempt.kind,
            provider=provider,
            outcome=type(outcome).__name__,
            attempt=attempt.number,
            reason="" if isinstance(outcome, Delivered) else outcome.error,
        )
        if not isinstance(outcome, Delivered | Snooze):
            step.fail()

    async def _limited_send(self, provider: Provider, attempt: Attempt) -> Outcome:
        try:
            async with time_limit.within(self._timeout_s + _MARGIN_S):
                outcome = await provider.send(attempt)
                return without(outcome, (place.address for place in attempt.destinations))
        except TimeoutError:
            log.warning("provider_overdue", channel=self._channel, provider=provider.name)
            return Unknown("TIMEOUT")
        except Exception as error:
            # A bug of ours, and the call may have gone out before it.
            log.exception("provider_failed", channel=self._channel, provider=provider.name)
            return Unknown(type(error).__name__)

    def _learn(self, member: _Member, call: Call, outcome: Outcome | None) -> None:
        now = self._clock()
        match outcome:
            case Delivered() | Discard():
                member.circuit.succeeded(call, now)
            case Retry(alone=False) | Unknown(alone=False):
                member.circuit.failed(call, now)
            case Snooze(alone=False, after_s=asked_s):
                wait_s = min(max(asked_s or 0.0, _HOLD_LEAST_S), backoff.ASKED_MOST_S)
                member.circuit.hold(call, now, wait_s)
                log.info("provider_held", channel=self._channel, provider=member.provider.name, wait_s=wait_s)
            case _:
                member.circuit.forget(call)
        self._tell(member)

    def _tell(self, member: _Member) -> None:
        name, state = member.provider.name, member.circuit.state()
        if state is member.told:
            return
        metrics.PROVIDER_STATE.labels(self._channel, name).set(state.value)
        if state is State.OPEN and member.told is State.CLOSED:
            metrics.OPENED.labels(self._channel, name).inc()
        log.warning(_EVENTS[state], channel=self._channel, provider=name)
        member.told = state
