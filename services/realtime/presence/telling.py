"""What everybody on a topic is told about who is there: changes one by one, of crowded topics a number now and then,
and the whole state where a topic became crowded or no longer is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from crown import logs
from crown.breaker import Away
from services.realtime.presence.board import Board, Change, Standing
from services.realtime.presence.diff import COUNT, DIFF, Payload, diff
from services.realtime.presence.views import Event

log = logs.get(__name__)

_PUBLISH_LIMIT_S = 1.0

# Tells everybody on a topic: the topic, the event, its payload. May raise; it is then told later.
Publish = Callable[[str, str, Payload], Awaitable[None]]


class Telling:
    """What is still to be told. `state` answers the events that say who is on a topic, and may raise Away; `shown`
    says whether this node shows somebody there, and `wake` hears that there is something to tell."""

    def __init__(
        self,
        board: Board,
        publish: Publish,
        state: Callable[[str], Awaitable[list[Event]]],
        shown: Callable[[str], bool],
        wake: Callable[[], None],
    ) -> None:
        self._board = board
        self._publish = publish
        self._state = state
        self._shown = shown
        self._wake = wake
        # Changes by topic and ref.
        self._changes: dict[str, dict[str, Change]] = {}
        # Topics whose state, or number, everybody is to get.
        self._turned: set[str] = set()
        self._turned_before: set[str] = set()
        self._uncounted: set[str] = set()
        self._crowded: set[str] = set()

    def is_crowded(self, topic: str) -> bool:
        """Whether a topic on which somebody is shown here was crowded when that was last seen."""
        return topic in self._crowded

    def forget(self, topic: str) -> None:
        """Nobody is shown on `topic` here any more."""
        self._crowded.discard(topic)

    def put(self, change: Change) -> None:
        """This is to be told."""
        told = self._changes.setdefault(change.topic, {})
        before = told.get(change.ref)
        # Nobody comes back under the same phx_ref: a joining side that is late changes nothing.
        if before is None or before.record:
            told[change.ref] = change

    def settle(self, standings: Sequence[Standing]) -> None:
        """Takes in where topics stand."""
        for standing in standings:
            topic = standing.topic
            if standing.crowded:
                self._changes.pop(topic, None)
                self._uncounted.add(topic)
            if standing.crowded and self._shown(topic):
                self._crowded.add(topic)
            else:
                self._crowded.discard(topic)
            if standing.turned:
                self._turned.add(topic)
                self._wake()

    async def tell(self) -> bool:
        """Tells what changed and what turned; False where not all of it could be told."""
        return await self.tell_changes() and await self._tell_turned()

    async def tell_changes(self) -> bool:
        """Tells what changed; False where it could not."""
        for topic in list(self._changes):
            changes, told = self._changes.pop(topic), False
            if topic in self._crowded:
                self._uncounted.add(topic)
                continue
            try:
                told = await self.attempt(topic, DIFF, diff(changes.values()))
            finally:
                if not told:
                    self._changes[topic] = {**changes, **self._changes.get(topic, {})}
            if not told:
                return False
        return True

    async def _tell_turned(self) -> bool:
        """Tells everybody the state of topics that became crowded or no longer are, twice: what others tell while
        it is read, it would undo."""
        for topic in list(self._turned):
            self._turned.discard(topic)
            if not await self._tell_state(topic):
                self._turned.add(topic)
                return False
            self._turned_before.add(topic)
        return True

    async def tell_turned_again(self) -> None:
        """The second time."""
        for topic in list(self._turned_before):
            if await self._tell_state(topic):
                self._turned_before.discard(topic)

    async def tell_counts(self) -> None:
        """Tells the numbers of crowded topics that changed. Raises Away."""
        topics = list(self._uncounted)
        if not topics:
            return
        counts = await self._board.counts(topics)
        self._uncounted.difference_update(topics)
        for topic, people in zip(topics, counts, strict=True):
            if people is None or (people >= 0 and not await self.attempt(topic, COUNT, {"count": people})):
                self._uncounted.add(topic)

    async def _tell_state(self, topic: str) -> bool:
        try:
            events = await self._state(topic)
        except Away:
            return False
        return all([await self.attempt(topic, event, payload) for event, payload in events])

    async def attempt(self, topic: str, event: str, payload: Payload) -> bool:
        """Tells this at once; False where it could not."""
        try:
            async with asyncio.timeout(_PUBLISH_LIMIT_S):
                await self._publish(topic, event, payload)
        except Exception as error:
            log.warning("presence_untold", error=type(error).__name__)
            return False
        return True
