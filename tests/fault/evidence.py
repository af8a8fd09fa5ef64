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
    # When, in seconds since 1970.
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A notification that a person's socket received, in the order of receiving; `offset` says where it stands on the
    topic, within an `epoch`."""

    user: str
    notification_id: str
    offset: int = 0
    epoch: str = ""


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
class Look:
    """What the suite said of itself at `time`, in seconds since 1970: `ready` by /readyz at the gateway, and whom the
    supervisor found not to serve. `told` is what the first complained of."""

    time: float
    ready: bool
    unwell: frozenset[str] = frozenset()
    told: str = ""


@dataclass(frozen=True, slots=True)
class Most:
    """The most that one process took: memory in MB, and descriptors."""

    rss_mb: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Calls:
    """How often a provider was called for one delivery."""

    mean: float
    most: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What the processes' own metrics say. A figure is missing where one of the processes that count it ended, and
    took its counters with it. `delivered` and `unknown` count attempts that ended so, by channel."""

    accepted: int | None = None
    delivered: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)


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
    looks: Sequence[Look] = ()
    counted: Counted = field(default_factory=Counted)
    # By process.
    most: Mapping[str, Most] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    # What our processes have written to their logs.
    log_bytes: int = 0
    # By channel.
    calls: Mapping[str, Calls] = field(default_factory=dict)
