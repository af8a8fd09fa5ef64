"""How the sandbox misbehaves on demand: a queue of behaviours per provider, first come first used.

A script replaces what an acceptable call would be answered; what the provider refuses stays refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from stack import strict
from stack.sandbox.ledger import Draft

Name = Literal["sendgrid", "twilio", "fcm", "oauth"]

WAIT_LIMIT_S = 300
"""The longest delay or hang: then the connection is reset, so that no test can leave one for ever."""


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


class Behaviour(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What happens instead of the provider's answer.

    Without `status` the provider's own answer is given, late after `delay_s`. Without `body` an error status
    gets the provider's own error body. `reset` ends the connection "before" or "after" the call took effect.
    `effect` says whether it reaches the person; by default a 2xx and a reset "after" do, all else does not.
    """

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: Any = msgspec.UNSET
    delay_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_LIMIT_S)] = 0
    hang: bool = False
    reset: Literal["before", "after"] | None = None
    effect: bool | None = None

    @property
    def has_effect(self) -> bool:
        if self.effect is not None:
            return self.effect
        if self.hang or self.reset:
            return self.reset == "after"
        return self.status is None or self.status < 300


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /script: queue one behaviour, or clear a provider's queue."""

    provider: Name
    match: Match = Match()
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    answer: Behaviour | None = None
    clear: bool = False


_decoder = msgspec.json.Decoder(Order)


def read(body: bytes) -> Order:
    """Raises strict.Violation naming the field that is wrong."""
    order = strict.decode(_decoder, body)
    if order.clear == (order.answer is not None):
        raise _wrong("answer", 'either "answer" or "clear": true')
    if order.answer is not None:
        _check(order.answer)
    return order


def _check(answer: Behaviour) -> None:
    silent = answer.hang or answer.reset is not None
    if answer.hang and answer.reset is not None:
        raise _wrong("answer.reset", "a call either hangs or is reset")
    if silent and (answer.status is not None or answer.headers or answer.body is not msgspec.UNSET):
        raise _wrong("answer.status", "a call that hangs or is reset gets no status, headers or body")
    if answer.reset == "before" and answer.effect:
        raise _wrong("answer.effect", 'a call that is reset "before" has no effect')
    for name, value in answer.headers.items():
        if not (name.isascii() and value.isprintable() and re.fullmatch(r"[!-9;-~]+", name)):
            raise _wrong("answer.headers", f"{name!r} is no header")
        if name.lower() in ("content-length", "transfer-encoding", "connection"):
            raise _wrong("answer.headers", f"{name} is the server's own")


def _wrong(field: str, problem: str) -> strict.Violation:
    return strict.Violation(strict.Fault.VALUE, tuple(field.split(".")), problem)


class Scripts:
    """The queues. A behaviour without `times` stays until it is cleared and hides those queued after it."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Order]] = {}

    def apply(self, order: Order) -> int:
        """Queues or clears as the order says; how many behaviours the provider then has."""
        if order.clear:
            self.clear(order.provider)
            return 0
        queue = self._queues.setdefault(order.provider, [])
        queue.append(order)
        return len(queue)

    def clear(self, provider: str | None = None) -> None:
        """Forgets the queue of one provider, or all."""
        if provider is None:
            self._queues.clear()
        else:
            self._queues.pop(provider, None)

    def pending(self) -> list[Order]:
        """What is queued, each with the uses it has left."""
        return [order for queue in self._queues.values() for order in queue]

    def take(self, provider: str, method: str, drafts: Sequence[Draft]) -> Behaviour | None:
        """The behaviour for this call, counted as used; None where nothing is scripted for it."""
        queue = self._queues.get(provider)
        if not queue:
            return None
        people = drafts or (Draft(),)
        order = next((o for o in queue if any(o.match.fits(method, d) for d in people)), None)
        if order is None:
            return None
        if order.times is not None:
            order.times -= 1
            if order.times == 0:
                queue.remove(order)
        return order.answer
