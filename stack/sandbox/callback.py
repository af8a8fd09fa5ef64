"""What a provider tells later about a message: the words that each has for it, and the seam to what writes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import msgspec

from stack.sandbox.ledger import Draft

LATE_LIMIT_S = 24 * 3_600
REPEATS_LIMIT = 100

Signed = Literal["right", "wrong", "missing", "old"]

EVENTS: Mapping[str, frozenset[str]] = {
    "sendgrid": frozenset((
        "processed", "deferred", "delivered", "bounce", "blocked", "dropped", "open", "click", "spamreport",
        "unsubscribe", "group_unsubscribe",
    )),
    "twilio": frozenset((
        "accepted", "scheduled", "queued", "sending", "sent", "delivered", "undelivered", "failed", "read",
        "canceled",
    )),
    "sns": frozenset((
        "TEXT_QUEUED", "TEXT_PENDING", "TEXT_SENT", "TEXT_SUCCESSFUL", "TEXT_DELIVERED", "TEXT_BLOCKED",
        "TEXT_CARRIER_BLOCKED", "TEXT_SPAM", "TEXT_INVALID", "TEXT_INVALID_MESSAGE", "TEXT_UNREACHABLE",
        "TEXT_CARRIER_UNREACHABLE", "TEXT_TTL_EXPIRED", "TEXT_PROTECT_BLOCKED", "TEXT_UNKNOWN",
    )),
}  # fmt: skip
"""The providers that call back, with their own words."""

ALIASES: Mapping[str, Mapping[str, str]] = {
    "sendgrid": {"complaint": "spamreport", "undelivered": "bounce"},
    "twilio": {"bounce": "undelivered"},
    "sns": {
        "queued": "TEXT_QUEUED",
        "sent": "TEXT_SENT",
        "delivered": "TEXT_DELIVERED",
        "undelivered": "TEXT_CARRIER_UNREACHABLE",
        "bounce": "TEXT_CARRIER_UNREACHABLE",
        "blocked": "TEXT_BLOCKED",
    },
}
"""Words that are understood besides."""


class Callback(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One callback about a message, `after_s` after it was taken, `times` over."""

    event: str
    after_s: Annotated[float, msgspec.Meta(ge=0, le=LATE_LIMIT_S)] = 0
    times: Annotated[int, msgspec.Meta(ge=1, le=REPEATS_LIMIT)] = 1
    signed: Signed = "right"


@dataclass(frozen=True, slots=True)
class Told:
    """One message and what is told about it."""

    event: str
    message_id: str
    draft: Draft
    signed: Signed = "right"


@dataclass(frozen=True, slots=True)
class Request:
    """A POST."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Caller(Protocol):
    """Writes one provider's calls. `batch` is how many it puts into one, `usual` what it tells of every message."""

    @property
    def batch(self) -> int: ...

    @property
    def usual(self) -> Sequence[Callback]: ...

    def call(self, told: Sequence[Told]) -> Request | None:
        """One call that tells all of `told`, which are signed alike; None where nobody wants to know."""


def known(provider: str, event: str) -> str | None:
    """The provider's own word for `event`; None where it has none."""
    word = ALIASES.get(provider, {}).get(event, event)
    return word if word in EVENTS.get(provider, ()) else None


def words(provider: str) -> Collection[str]:
    """All words that are understood."""
    return sorted({*EVENTS.get(provider, ()), *ALIASES.get(provider, ())})
