"""How an attempt can end. A channel returns one of these and never raises for what a provider did; an
exception is a bug, and counts as Unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

# What follows a word may be a provider's free text.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}|\d{3,6}\b")
# Neither addresses, numbers nor tokens are like this.
_CODE = re.compile(r"[A-Za-z][A-Za-z_.]{0,63}")


@dataclass(frozen=True, slots=True)
class Delivered:
    """The provider has it. `message_id` is the provider's own."""

    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """It was surely not sent, and may work later. `after_s` is the provider's wish, None where it has none;
    `done` are the destinations that have it already. It speaks against the provider, unless `alone`, where it is
    the fault of this destination's own service."""

    error: str
    after_s: float | None = None
    done: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not now; costs no attempt. `done` as for Retry. The provider asks us to wait, and gets nothing from this
    process until then; unless `alone`, where it is only this one that waits."""

    error: str
    after_s: float | None = None
    done: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Discard:
    """It can never be sent. `reason` is a stable word, `error` the provider's code."""

    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The call broke off after the provider may have taken it. `done` and `alone` as for Retry."""

    error: str
    done: tuple[str, ...] = ()
    alone: bool = False


Outcome = Delivered | Retry | Snooze | Discard | Unknown


def error_code(told: str, otherwise: str) -> str:
    """A provider's code for an error, where it is like one; else `otherwise`. Any text might stand in its place, with
    an address in it, and what is told here is kept, counted and shown to the sender."""
    return told if _CODE.fullmatch(told) else otherwise


def without(outcome: Outcome, addresses: Iterable[str]) -> Outcome:
    """`outcome`, less what it tells where that repeats an address."""
    told = outcome.message_id if isinstance(outcome, Delivered) else outcome.error
    if not any(address in told for address in addresses):
        return outcome
    return (
        replace(outcome, message_id="") if isinstance(outcome, Delivered) else replace(outcome, error="OTHER")
    )


def word(outcome: Outcome) -> str:
    """Why the attempt failed, as one word; empty where it did not, OTHER where what is told begins with none."""
    if isinstance(outcome, Delivered):
        return ""
    told = _WORD.match(outcome.reason if isinstance(outcome, Discard) else outcome.error)
    return told[0] if told else "OTHER"
