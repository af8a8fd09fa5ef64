"""How the mailbox misbehaves on demand: replies in place of its own, delays, dropped connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from stack import strict

Command = Literal["MAIL", "RCPT", "DATA"]
WAIT_LIMIT_S = 300


class Match(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which mail a behaviour is for; case does not matter."""

    recipient: str | None = None


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /script.

    `reply` is sent instead of the mailbox's own; only a 2xx to DATA keeps the mail, and a 421 ends the
    connection. `drop` ends it without a word: at DATA after the final dot, with the mail kept.
    """

    command: Command | None = None
    reply: Annotated[str, msgspec.Meta(pattern=r"^[245]\d\d [ -~]{1,500}\Z")] | None = None
    match: Match = Match()
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    drop: bool = False
    delay_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_LIMIT_S)] = 0
    clear: bool = False


_decoder = msgspec.json.Decoder(Order)


def read(body: bytes) -> Order:
    """Raises strict.Violation naming the field that is wrong."""
    order = strict.decode(_decoder, body)
    acts = order.reply is not None or order.drop or order.delay_s > 0
    if order.clear and acts:
        raise _wrong("clear", "an order either clears or adds")
    if order.clear:
        return order
    if order.command is None:
        raise _wrong("command", "must be MAIL, RCPT or DATA")
    if not acts:
        raise _wrong("reply", "one of reply, drop and delay_s is needed")
    if order.drop and order.reply is not None:
        raise _wrong("drop", "a dropped connection gets no reply")
    if order.command == "MAIL" and order.match.recipient is not None:
        raise _wrong("match.recipient", "at MAIL the recipients are not known yet")
    return order


def _wrong(field: str, problem: str) -> strict.Violation:
    return strict.Violation(strict.Fault.VALUE, tuple(field.split(".")), problem)


class Scripts:
    """The queue. A behaviour without `times` stays until it is cleared and hides those queued after it."""

    def __init__(self) -> None:
        self._queue: list[Order] = []

    def apply(self, order: Order) -> int:
        """Queues or clears as the order says; how many behaviours there are then."""
        if order.clear:
            self.clear(order.command)
        else:
            self._queue.append(order)
        return len(self._queue)

    def clear(self, command: Command | None = None) -> None:
        """Forgets all behaviours, or those for one command."""
        self._queue = [o for o in self._queue if command is not None and o.command != command]

    def pending(self) -> list[Order]:
        """What is queued, each with the uses it has left."""
        return list(self._queue)

    def take(self, command: Command, recipients: Sequence[str] = ()) -> Order | None:
        """The behaviour for this command, counted as used; None where nothing is scripted for it."""
        people = {recipient.lower() for recipient in recipients}
        for order in self._queue:
            wanted = order.match.recipient
            if order.command == command and (wanted is None or wanted.lower() in people):
                return self._use(order)
        return None

    def _use(self, order: Order) -> Order:
        if order.times is not None:
            order.times -= 1
            if order.times == 0:
                self._queue.remove(order)
        return order
