"""The seam between a node and what all nodes share about who is present. Each node writes what it holds, under a
name that lives for a while after each beat; what a dead node held, others clear away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec


class Lost(Exception):
    """The node is not on the board: it was taken for dead, or the board came back empty."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How often things are done, and when. Tests have shorter ones."""

    # A node beats this often, and is taken for dead this long after its last beat.
    beat_s: float = 3.0
    ttl_s: float = 10.0
    # How often each node looks for dead ones. Who clears one away holds it for so long, and then another may.
    look_s: float = 2.0
    hold_s: float = 5.0
    # What changes on a topic is gathered for so long, then written and told as one.
    gather_s: float = 0.05
    # Readings of one topic begin at least this far apart.
    spacing_s: float = 0.2
    # What could not be written or told is tried again.
    retry_s: float = 0.25
    # A topic with more channels than `crowd` tells a number in place of names, until there are fewer than
    # `crowd_ends`; and that at most this often.
    crowd: int = 500
    crowd_ends: int = 400
    count_s: float = 2.0
    # When a person was last active is written at most this often.
    active_s: float = 30.0


class Record(msgspec.Struct, frozen=True, gc=False):
    """What the board keeps of one channel: whose it is, since when in microseconds, its phx_ref, and what is told
    of it."""

    key: str
    at: int
    ref: str
    meta: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Change:
    """A channel that joined `topic`, or left it where `record` is empty. `ref` is its phx_ref. Boards keep the
    record; `meta` is what is told of the channel."""

    topic: str
    ref: str
    key: str
    record: bytes
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a topic stands after a change. `turned`: it became crowded just now, or no longer is."""

    topic: str
    crowded: bool
    turned: bool


@dataclass(frozen=True, slots=True)
class View:
    """What other living nodes hold on a topic; of a crowded one only how many people are on it."""

    records: list[bytes]
    crowded: bool
    people: int


@dataclass(frozen=True, slots=True)
class Seat:
    """A socket of a person: it opened, or closed. Its id holds no space."""

    user_id: str
    socket_id: str
    opened: bool


class Board(Protocol):
    """What the nodes share. Every call raises Away where the board does not answer in time; repeating any is
    harmless."""

    async def begin(self, node: str, before: str) -> None:
        """`node` lives. What it held under the name `before`, empty where it had none, is left to be cleared."""

    async def beat(self, node: str) -> None:
        """`node` lives on. Raises Lost."""

    async def end(self, node: str) -> None:
        """`node` is gone at once."""

    async def write(self, node: str, changes: Sequence[Change]) -> list[Standing]:
        """Writes changes of `node`; answers for each topic among them. One call at a time, since a later one must
        not be done first. Raises Lost."""

    async def seat(self, node: str, seats: Sequence[Seat]) -> list[int]:
        """Writes sockets of `node` that opened or closed, and that their people were active; answers how many
        sockets each person has on living nodes. One call at a time. Raises Lost."""

    async def touch(self, user_ids: Sequence[str]) -> None:
        """They were active just now."""

    async def views(self, node: str, topics: Sequence[str]) -> list[View]:
        """What others than `node` hold on each topic."""

    async def counts(self, topics: Sequence[str]) -> list[int | None]:
        """For each topic how many people are on it, if that is to be told now; None where it was told a moment
        ago, -1 where it is not crowded."""

    async def claim(self) -> str:
        """A dead node that nobody else clears away for now; empty where there is none."""

    async def remains(self, dead: str, most: int) -> list[tuple[Change, bool]]:
        """Some channels that `dead` held, with what was kept of each, and whether its topic is crowded."""

    async def bury(self, dead: str, changes: Sequence[Change]) -> list[Standing]:
        """Takes channels of `dead` off the board; keeps hold of it."""

    async def unseat(self, dead: str, most: int) -> bool:
        """Takes some sockets of `dead` off the board; False where none is left and it is forgotten."""
