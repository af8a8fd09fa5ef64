"""Clears away what dead nodes held. One node does it at a time; where that one dies too, another goes on, and who is
told twice that somebody left takes no harm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import msgspec

from crown import logs
from services.realtime.presence.board import Board, Change, Record, Standing
from services.realtime.presence.diff import DIFF, Payload, diff

log = logs.get(__name__)

# Channels, or sockets, that are cleared away in one step.
_AT_ONCE = 250
_RECORD = msgspec.json.Decoder(Record)


class Reaper:
    """Looks for dead nodes. `tell` answers whether it could tell, `settle` hears where topics stand afterwards."""

    def __init__(
        self,
        board: Board,
        tell: Callable[[str, str, Payload], Awaitable[bool]],
        settle: Callable[[Sequence[Standing]], None],
    ) -> None:
        self._board = board
        self._tell = tell
        self._settle = settle

    async def look(self) -> None:
        """Clears away every dead node that nobody else clears away. Raises Away: it is then done later, by
        somebody."""
        while dead := await self._board.claim():
            await self.clear(dead)

    async def clear(self, dead: str, quietly: bool = False) -> None:
        """Clears away one node; quietly where what it held has only moved. Raises Away."""
        channels = 0
        while remains := await self._board.remains(dead, _AT_ONCE):
            gone = [(_gone(change), crowded) for change, crowded in remains]
            # Told first: no state has shown them since the node died, and where this process dies between the
            # two, the next one finds them still.
            left = [change for change, crowded in gone if change.meta and not crowded]
            if not quietly and not await self._tell_all(left):
                return
            self._settle(await self._board.bury(dead, [change for change, _ in gone]))
            channels += len(remains)
        while await self._board.unseat(dead, _AT_ONCE):
            pass
        log.info("presence_node_cleared", channels=channels)

    async def _tell_all(self, changes: Sequence[Change]) -> bool:
        topics: dict[str, list[Change]] = {}
        for change in changes:
            topics.setdefault(change.topic, []).append(change)
        return all([await self._tell(topic, DIFF, diff(some)) for topic, some in topics.items()])


def _gone(change: Change) -> Change:
    """The leaving side of what was kept; without meta where nothing was."""
    if not change.record:
        return change
    record = _RECORD.decode(change.record)
    return replace(change, key=record.key, record=b"", meta=msgspec.json.decode(record.meta))
