"""Unread counts for the people who are here: counted anew after each change of an inbox, at most four times a second
each. All that are due are counted in one question to the store, and told in one turn."""

from __future__ import annotations

import asyncio

from pymongo.errors import PyMongoError

from crown import logs
from crown.unread import Unread
from services.realtime.hub import Hub
from services.realtime.tasks import Spawn

log = logs.get(__name__)

# Seconds in which changes count as one.
GATHERED_S = 0.25
# Told in one step of the loop.
_SLICE = 32
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
        if not self._due:
            asyncio.get_running_loop().call_later(GATHERED_S, self._begin)
        self._due.add(topic)

    def _begin(self) -> None:
        due, self._due = self._due, set()
        self._spawn(self._tell(sorted(due)))

    async def _tell(self, topics: list[str]) -> None:
        try:
            counts = await asyncio.gather(*(self._unread.count(topic.partition(":")[2]) for topic in topics))
        except PyMongoError as error:
            # The next change counts again; a page that is opened anew reads the inbox.
            log.warning("unread_uncounted", error=type(error).__name__)
            return
        for number, (topic, count) in enumerate(zip(topics, counts, strict=True)):
            self._hub.tell_here(topic, _EVENT, {"unread_count": count})
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
