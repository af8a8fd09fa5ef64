"""Presence in this process alone: for tests, with the same behaviour on one node."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from services.realtime.diffs import Diff, Diffs
from services.realtime.presence import DIFF, STATE, Tell, described, grouped, new_ref


class MemoryPresence:
    """Who is on this node."""

    def __init__(self, tell: Tell, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._tell = tell
        self._entries: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self._sockets: dict[str, str] = {}
        self._diffs = Diffs(self._send, spawn)
        self.acted: list[str] = []

    async def track(self, topic: str, key: str, meta: dict[str, Any]) -> str:
        """See Presence."""
        return self._enter(topic, key, meta, "")

    async def update(self, topic: str, ref: str, meta: dict[str, Any]) -> str:
        """See Presence."""
        before = self._entries.get(ref)
        if before is None:
            return ref
        await self.untrack(topic, ref)
        return self._enter(topic, before[1], meta, ref)

    async def untrack(self, topic: str, ref: str) -> None:
        """See Presence."""
        if (found := self._entries.pop(ref, None)) is not None:
            self._diffs.leaves(topic, found[1], found[2])

    async def state(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        """See Presence."""
        entries = [(key, meta) for where, key, meta in self._entries.values() if where == topic]
        return [(STATE, dict(grouped(entries)))]

    async def register(self, user_id: str, socket_id: str) -> int:
        """See Presence."""
        self._sockets[socket_id] = user_id
        return sum(owner == user_id for owner in self._sockets.values())

    async def unregister(self, user_id: str, socket_id: str) -> None:
        """See Presence."""
        del user_id
        self._sockets.pop(socket_id, None)

    def active(self, user_id: str) -> None:
        """See Presence."""
        self.acted.append(user_id)

    def _enter(self, topic: str, key: str, meta: dict[str, Any], before: str) -> str:
        ref = new_ref()
        self._entries[ref] = topic, key, described(meta, ref, before)
        self._diffs.joins(topic, key, self._entries[ref][2])
        return ref

    async def _send(self, topic: str, diff: Diff) -> None:
        await self._tell(topic, DIFF, diff.payload())
