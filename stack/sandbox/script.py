"""How the sandbox misbehaves on demand: a queue of behaviours per provider, first come first used.

A script replaces what an acceptable call would be answered; what the provider refuses stays refused. A behaviour can
be for some calls only: by what they match, by number, by chance, and by the time since it was queued.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from stack import strict
from stack.sandbox.callback import EVENTS, Callback, known, words
from stack.sandbox.ledger import Draft

Name = Literal["sendgrid", "twilio", "sns", "fcm", "web_push", "oauth"]

WAIT_LIMIT_S = 300
"""The longest delay or hang: then the connection is reset, so that no test can leave one for ever."""

SCHEDULE_LIMIT_S = 24 * 3_600
# Of a normal distribution: one in a hundred lies further up than so many deviations.
_P99 = 2.326

Seconds = Annotated[float, msgspec.Meta(gt=0, le=SCHEDULE_LIMIT_S)]
Wait = Annotated[float, msgspec.Meta(ge=0, le=WAIT_LIMIT_S)]


class Match(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which calls a behaviour is for; a mail to many matches when one of its recipients does.

    Calls that only ask (GET) are left alone unless `method` says so.
    """

    method: Literal["GET", "POST"] = "POST"
    recipient: str | None = None
    notification_id: str | None = None
    delivery_id: str | None = None

    def fits(self, method: str, draft: Draft) -> bool:
        return method == self.method and all(
            wanted is None or wanted == value
            for wanted, value in (
                (self.recipient, draft.recipient),
                (self.notification_id, draft.notification_id),
                (self.delivery_id, draft.delivery_id),
            )
        )


class Latency(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Delays as networks have them: log-normal, half of them below the median, one in a hundred above `p99_s`."""

    median_s: Annotated[float, msgspec.Meta(gt=0, le=WAIT_LIMIT_S)]
    p99_s: Annotated[float, msgspec.Meta(gt=0, le=WAIT_LIMIT_S)]

    def draw(self, chance: random.Random) -> float:
        """One delay in seconds."""
        deviation = math.log(self.p99_s / self.median_s) / _P99
        return min(WAIT_LIMIT_S, chance.lognormvariate(math.log(self.median_s), deviation))


class Behaviour(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What happens instead of the provider's answer.

    Without `status` the provider's own answer is given, late after `delay_s` or as `latency` has it. Without
    `body` an error status gets the provider's own error body. `reset` ends the connection "before" or "after"
    the call took effect, `cut` in the middle of the answer's body. `effect` says whether it reaches the person;
    by default a 2xx and a reset "after" do, all else does not. `callbacks` are told later of what did; left out,
    the usual ones.
    """

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: Any = msgspec.UNSET
    delay_s: Wait = 0
    latency: Latency | None = None
    hang: bool = False
    reset: Literal["before", "after"] | None = None
    cut: bool = False
    effect: bool | None = None
    callbacks: Annotated[list[Callback], msgspec.Meta(max_length=100)] | None = None

    @property
    def has_effect(self) -> bool:
        if self.effect is not None:
            return self.effect
        if self.hang or self.reset:
            return self.reset == "after"
        return self.status is None or self.status < 300


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """One behaviour of one provider: which calls it is for, and when. Times are seconds since it was queued; without
    `seconds` it stays until it is cleared or used up."""

    provider: Name
    match: Match = Match()
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 100
    start_s: Annotated[float, msgspec.Meta(ge=0, le=SCHEDULE_LIMIT_S)] = 0
    seconds: Seconds | None = None
    answer: Behaviour | None = None
    clear: bool = False


class Pending(Order):
    """An order that waits for its time or its calls, and how much of it is left."""

    starts_in_s: float = 0
    ends_in_s: float | None = None
    used: int = 0


_decoder = msgspec.json.Decoder(Order)
_lists = msgspec.json.Decoder(Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=100)])


def read(body: bytes) -> Order:
    """Raises strict.Violation naming the field that is wrong."""
    order = strict.decode(_decoder, body)
    if order.clear == (order.answer is not None):
        raise _wrong("answer", 'either "answer" or "clear": true')
    if order.answer is not None:
        _check(order.provider, order.answer)
    return order


def read_many(body: bytes) -> list[Order]:
    """The orders of a list. Raises strict.Violation naming the field that is wrong, by number."""
    orders = []
    for number, raw in enumerate(strict.decode(_lists, body)):
        try:
            orders.append(read(bytes(raw)))
        except strict.Violation as wrong:
            types = (wrong.expected, wrong.given)
            raise strict.Violation(wrong.fault, (str(number), *wrong.path), wrong.problem, types) from None
    return orders


def check_callbacks(provider: str, field: str, callbacks: Sequence[Callback]) -> None:
    """Raises strict.Violation naming what `provider` does not tell."""
    if callbacks and provider not in EVENTS:
        raise _wrong(field, f"{provider} calls nobody back")
    for number, callback in enumerate(callbacks):
        check_callback(provider, f"{field}.{number}.", callback)


def check_callback(provider: str, prefix: str, callback: Callback) -> None:
    """Raises strict.Violation where `provider` would not tell that; the field's name begins with `prefix`."""
    if known(provider, callback.event) is None:
        found = ", ".join(words(provider))
        raise _wrong(
            f"{prefix}event", f"must be one of {found}" if found else f"{provider} calls nobody back"
        )
    if provider == "twilio" and callback.signed == "old":
        raise _wrong(f"{prefix}signed", "Twilio signs no time: right, wrong or missing")


def own_words(provider: str, callbacks: Sequence[Callback]) -> list[Callback]:
    """The same in the provider's own words."""
    return [msgspec.structs.replace(one, event=known(provider, one.event) or one.event) for one in callbacks]


def _check(provider: str, answer: Behaviour) -> None:
    silent = answer.hang or answer.reset is not None
    if answer.hang and answer.reset is not None:
        raise _wrong("answer.reset", "a call either hangs or is reset")
    if silent and (answer.status is not None or answer.headers or answer.body is not msgspec.UNSET):
        raise _wrong("answer.status", "a call that hangs or is reset gets no status, headers or body")
    if silent and answer.cut:
        raise _wrong("answer.cut", "a call that hangs or is reset gets no body")
    if answer.reset == "before" and answer.effect:
        raise _wrong("answer.effect", 'a call that is reset "before" has no effect')
    if answer.latency is not None:
        _check_latency(answer, answer.latency)
    _check_headers(answer)
    check_callbacks(provider, "answer.callbacks", answer.callbacks or ())


def _check_latency(answer: Behaviour, latency: Latency) -> None:
    if answer.delay_s:
        raise _wrong("answer.latency", "either delay_s or latency")
    if answer.hang:
        raise _wrong("answer.latency", "a call that hangs is not answered late but never")
    if latency.p99_s < latency.median_s:
        raise _wrong("answer.latency.p99_s", "must not be below the median")


def _check_headers(answer: Behaviour) -> None:
    for name, value in answer.headers.items():
        if not (name.isascii() and value.isprintable() and re.fullmatch(r"[!-9;-~]+", name)):
            raise _wrong("answer.headers", f"{name!r} is no header")
        if name.lower() in ("content-length", "transfer-encoding", "connection"):
            raise _wrong("answer.headers", f"{name} is the server's own")


def _wrong(field: str, problem: str) -> strict.Violation:
    return strict.Violation(strict.Fault.VALUE, tuple(field.split(".")), problem)


class _Queued:
    """An order and when it holds, on the clock of the queue."""

    __slots__ = ("ends", "left", "order", "starts", "used")

    def __init__(self, order: Order, now: float) -> None:
        self.order = order
        self.starts = now + order.start_s
        self.ends = math.inf if order.seconds is None else self.starts + order.seconds
        self.left = math.inf if order.times is None else order.times
        self.used = 0

    def over(self, now: float) -> bool:
        return now >= self.ends or self.left <= 0

    def pending(self, now: float) -> Pending:
        order = self.order
        return Pending(
            **{name: getattr(order, name) for name in Order.__struct_fields__ if name != "times"},
            times=None if order.times is None else int(self.left),
            starts_in_s=round(max(0.0, self.starts - now), 1),
            ends_in_s=None if order.seconds is None else round(self.ends - now, 1),
            used=self.used,
        )


class Scripts:
    """The queues. A behaviour for all calls hides those queued after it for as long as it holds. `clock` is in
    seconds, from anywhere."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, chance: random.Random | None = None
    ) -> None:
        self._clock = clock
        self._chance = chance or random.Random()
        self._queues: dict[str, list[_Queued]] = {}

    def apply(self, order: Order) -> int:
        """Queues or clears as the order says; how many behaviours the provider then has."""
        if order.clear or order.answer is None:
            self.clear(order.provider)
            return 0
        answer = order.answer
        if answer.callbacks:
            callbacks = own_words(order.provider, answer.callbacks)
            order.answer = msgspec.structs.replace(answer, callbacks=callbacks)
        queue = self._queues.setdefault(order.provider, [])
        queue.append(_Queued(order, self._clock()))
        return len(queue)

    def clear(self, provider: str | None = None) -> None:
        """Forgets the queue of one provider, or all."""
        if provider is None:
            self._queues.clear()
        else:
            self._queues.pop(provider, None)

    def pending(self) -> list[Pending]:
        """What is queued, each with the uses and the time it has left."""
        now = self._clock()
        self._queues = {
            provider: kept
            for provider, queue in self._queues.items()
            if (kept := [one for one in queue if not one.over(now)])
        }
        return [one.pending(now) for queue in self._queues.values() for one in queue]

    def take(self, provider: str, method: str, drafts: Sequence[Draft]) -> Behaviour | None:
        """The behaviour for this call, counted as used; None where nothing is scripted for it."""
        queue = self._queues.get(provider)
        if not queue:
            return None
        now, people = self._clock(), drafts or (Draft(),)
        found = next((one for one in queue if self._applies(one, now, method, people)), None)
        if found is not None:
            found.used += 1
            found.left -= 1
        if any(one.over(now) for one in queue):
            self._queues[provider] = [one for one in queue if not one.over(now)]
        return found.order.answer if found else None

    def draw(self, latency: Latency) -> float:
        """One delay in seconds."""
        return latency.draw(self._chance)

    def _applies(self, one: _Queued, now: float, method: str, people: Sequence[Draft]) -> bool:
        order = one.order
        if now < one.starts or one.over(now) or not any(order.match.fits(method, draft) for draft in people):
            return False
        return order.percent >= 100 or self._chance.random() * 100 < order.percent
