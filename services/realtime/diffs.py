"""What changed on topics, gathered for a moment so that a rush of people costs a few messages and not one each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from services.realtime.presence import State, grouped

# Seconds in which the changes of a topic go out as one.
GATHERED_S = 0.05

Entries = list[tuple[str, dict[str, Any]]]


class Diff:
    """Joins and leaves of one topic."""

    __slots__ = ("joins", "leaves")

    def __init__(self) -> None:
        self.joins: Entries = []
        self.leaves: Entries = []

    def payload(self) -> dict[str, State]:
        """As a Phoenix client takes it."""
        return {"joins": grouped(self.joins), "leaves": grouped(self.leaves)}


class Diffs:
    """Hands each topic's diff to `send` once it has been gathered."""

    def __init__(
        self,
        send: Callable[[str, Diff], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._send = send
        self._spawn = spawn
        self._pending: dict[str, Diff] = {}

    def joins(self, topic: str, key: str, meta: dict[str, Any]) -> None:
        """Somebody came."""
        self._of(topic).joins.append((key, meta))

    def leaves(self, topic: str, key: str, meta: dict[str, Any]) -> None:
        """Somebody went."""
        self._of(topic).leaves.append((key, meta))

    def flush(self) -> None:
        """Sends all at once."""
        for topic in list(self._pending):
            self._begin(topic)

    def _of(self, topic: str) -> Diff:
        found = self._pending.get(topic)
        if found is None:
            found = self._pending[topic] = Diff()
            asyncio.get_running_loop().call_later(GATHERED_S, self._begin, topic)
        return found

    def _begin(self, topic: str) -> None:
        diff = self._pending.pop(topic, None)
        if diff is not None:
            self._spawn(self._send(topic, diff))
