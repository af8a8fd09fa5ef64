"""What a fault run leaves behind, as plain values: what the store says, what providers, mailbox and sockets saw.
The checker reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery in the ledger; `state` is the contract's name."""

    notification_id: str
    user: str
    channel: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something reached a person's address, by the word of the provider or the mailbox."""

    source: str
    notification_id: str
    delivery_id: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A notification that a person's socket received."""

    user: str
    notification_id: str


@dataclass(frozen=True, slots=True)
class Published:
    """A notification that was published for a person's sockets at `time`, in seconds since 1970."""

    user: str
    notification_id: str
    time: float


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter."""

    delivery_id: str
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A state that a delivery took, from the timeline."""

    delivery_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in seconds since 1970."""

    begin: float
    end: float

    def holds(self, moment: float) -> bool:
        """Whether `moment` lies in it."""
        return self.begin <= moment <= self.end


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was found when all was quiet."""

    rows: Sequence[Row] = ()
    effects: Sequence[Effect] = ()
    frames: Sequence[Frame] = ()
    published: Sequence[Published] = ()
    letters: Sequence[Letter] = ()
    turns: Sequence[Turn] = ()
    # Where each person is reached, by (user, channel).
    addresses: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    # When each person's socket was on its topic and, as far as it was told, missed nothing.
    listening: Mapping[str, Sequence[Span]] = field(default_factory=dict)
