"""Unread counts for the people who are here: counted anew after each change of an inbox, at most four times a second
each. Those that are due together are counted in one question to the store."""

from __future__ import annotations

import asyncio
from itertools import islice

from pymongo.errors import PyMongoError

from crown import logs
from crown.unread import Unread
from services.realtime.hub import Hub
from services.realtime.tasks import Spawn

log = logs.get(__name__)

# Seconds in which changes of one inbox count as one.
GATHERED_S = 0.25
# Seconds between two looks for who is due, and how many are counted and told at one: more would hold up the loop.
_TICK_S = 0.015
_AT_ONCE = 32
_EVENT = "unread_count"


class UnreadCounts:
    """Counts for the topics of people on this node."""

    def __init__(self, unread: Unread, hub: Hub, spawn: Spawn) -> None:
        self._unread = unread
        self._hub = hub
        self._spawn = spawn
        # When each is due: the same time after its change, so that the first is due first.
        self._due: dict[str, float] = {}
        hub.on_inbox_change(self.changed)

    def changed(self, topic: str) -> None:
        """Counts anew, soon, and tells everybody on `topic`."""
        if topic in self._due:
            return
        loop = asyncio.get_running_loop()
        if not self._due:
            loop.call_later(GATHERED_S, self._tick)
        self._due[topic] = loop.time() + GATHERED_S

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        # The clock of timers is no finer than a millisecond.
        present = loop.time() + 0.001
        topics = [topic for topic, due in islice(self._due.items(), _AT_ONCE) if due <= present]
        for topic in topics:
            del self._due[topic]
        if topics:
            self._spawn(self._tell(topics))
        if self._due:
            first = next(iter(self._due.values()))
            loop.call_later(max(_TICK_S, first - present), self._tick)

    async def _tell(self, topics: list[str]) -> None:
        try:
            counts = await asyncio.gather(*(self._unread.count(topic.partition(":")[2]) for topic in topics))
        except PyMongoError as error:
            # The next change counts again; a page that is opened anew reads the inbox.
            log.warning("unread_uncounted", error=type(error).__name__)
            return
        for topic, count in zip(topics, counts, strict=True):
            self._hub.tell_here(topic, _EVENT, {"unread_count": count})
