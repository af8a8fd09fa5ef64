"""Unread counts for the people who are here: counted anew after each change of an inbox, at most once a person and
quarter of a second."""

from __future__ import annotations

import asyncio

from pymongo.errors import PyMongoError

from crown import logs
from crown.unread import Unread
from services.realtime.hub import Hub
from services.realtime.tasks import Spawn

log = logs.get(__name__)

# Seconds in which changes of one inbox count as one.
GATHERED_S = 0.25
_EVENT = "unread_count"


class UnreadCounts:
    """Counts for the topics of people on this node."""

    def __init__(self, unread: Unread, hub: Hub, spawn: Spawn) -> None:
        self._unread = unread
        self._hub = hub
        self._spawn = spawn
        self._due: set[str] = set()
        hub.on_inbox_change(self.changed)

    def changed(self, topic: str) -> None:
        """Counts anew, soon, and tells everybody on `topic`."""
        if topic in self._due:
            return
        self._due.add(topic)
        asyncio.get_running_loop().call_later(GATHERED_S, self._begin, topic)

    def _begin(self, topic: str) -> None:
        self._due.discard(topic)
        self._spawn(self._tell(topic))

    async def _tell(self, topic: str) -> None:
        try:
            count = await self._unread.count(topic.partition(":")[2])
        except PyMongoError as error:
            # The next change counts again; a page that is opened anew reads the inbox.
            log.warning("unread_uncounted", error=type(error).__name__)
            return
        self._hub.tell_here(topic, _EVENT, {"unread_count": count})
