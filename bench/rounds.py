"""Rounds of A and B in turn, so that a machine that slows down slows both down; what counts is the middle."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def in_turn(
    ours: Callable[[], Awaitable[T]], peer: Callable[[], Awaitable[T]], rounds: int
) -> list[tuple[T, T]]:
    """What both gave, round by round. Each goes first every other time."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            theirs = await peer()
            pairs.append((await ours(), theirs))
        else:
            mine = await ours()
            pairs.append((mine, await peer()))
    return pairs


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The median of ours to the peer's, round by round; 0 where the peer did nothing."""
    return middle([ours / peer if peer else 0.0 for ours, peer in pairs])
