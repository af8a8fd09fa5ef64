"""Takes the memberships of deleted groups out of the store: those that a deletion left, since they were too many
to wait for or since its process died."""

from __future__ import annotations

import asyncio

from pymongo.errors import PyMongoError

from crown import logs
from crown.groups import Groups
from crown.stopping import pause
from crown.store import Store

log = logs.get(__name__)

_GROUPS_MOST = 100
# Seconds that one group is worked on before the next has its turn.
_TURN_S = 5.0


class Disbander:
    """Looks every `period_s` seconds."""

    def __init__(self, store: Store, period_s: float) -> None:
        self._groups = Groups(store.db)
        self._period_s = period_s

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        while not stopping.is_set():
            try:
                left = await self._disband(stopping)
            except PyMongoError as error:
                log.warning("disband_failed", error=type(error).__name__)
                left = False
            if not left:
                await pause(stopping, self._period_s)

    async def _disband(self, stopping: asyncio.Event) -> bool:
        """Gives each deleted group a turn. True where memberships are left."""
        left = False
        for group_id in await self._groups.deleted(_GROUPS_MOST):
            if stopping.is_set():
                break
            left |= not await self._groups.clear(group_id, _TURN_S)
        return left
