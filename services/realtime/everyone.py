"""What is for everybody: one message on the bus, and from it a frame for each person here who wants it. Nothing of
it is kept: who is not here finds it in the inbox, and after the bus was away counts are told anew where there is a
broadcast that this node has not heard of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from pymongo.errors import PyMongoError

from crown import logs, subjects, vault
from crown.bus import Bus
from crown.choices import NOTHING, refusal
from crown.errors import BusUnavailable
from crown.notification.v1.events_pb2 import LiveEvent
from crown.notification.v1.types_pb2 import Category, Channel
from crown.preferences import Preferences
from services.realtime.hub import Hub
from services.realtime.live import NOTIFICATION, Announcement, Unreadable
from services.realtime.tasks import Spawn

log = logs.get(__name__)

# People whose choices are read in one question.
_ASKED_AT_ONCE = 500
_TRIES = 5
_RETRY_S = 0.5
# The counts that follow are spread: over the nodes by chance, and here to some 1,600 people a second.
COUNT_DELAY_S = 0.5
_COUNTED_AT_ONCE = 32
_COUNT_PAUSE_S = 0.02


class Everyone:
    """Hears what is for everybody. `newest` answers the number of the newest broadcast, and `changed` has the count
    of one topic told anew."""

    def __init__(
        self,
        bus: Bus,
        hub: Hub,
        wishes: Preferences,
        newest: Callable[[], Awaitable[int]],
        changed: Callable[[str], None],
        data_key: vault.Key,
        spawn: Spawn,
    ) -> None:
        self._bus = bus
        self._hub = hub
        self._preferences = wishes
        self._newest = newest
        # As it was when somebody looked.
        self._number = 0
        self._changed = changed
        self._key = data_key
        self._spawn = spawn

    async def start(self) -> None:
        """Listens. Raises BusUnavailable."""
        try:
            # One after the other, so that people get them in order.
            await self._bus.client.subscribe(subjects.EVERYONE, cb=self._hear)
        except nats.errors.Error as error:
            raise BusUnavailable(f"the bus is away ({type(error).__name__})") from error
        self._bus.on_reconnect(self._reconnected)
        self._spawn(self._look())

    async def _reconnected(self) -> None:
        self._spawn(self._catch_up())

    async def _catch_up(self) -> None:
        before = self._number
        await self._look()
        if self._number != before:
            await self._count(self._hub.people_here())

    async def _look(self) -> None:
        try:
            self._number = await self._newest()
        except PyMongoError as error:
            log.warning("broadcasts_unread", error=type(error).__name__)

    async def _hear(self, message: Msg) -> None:
        # Runs in the subscription's task, which an exception would not end, but nobody would learn of it either.
        try:
            event = LiveEvent.FromString(message.data)
            if event.event == NOTIFICATION:
                await self._announce(Announcement.of(self._key, event))
        except (DecodeError, Unreadable) as error:
            log.error("broadcast_unreadable", error=type(error).__name__)
            return
        except Exception as error:
            log.error("broadcast_failed", exc_info=error)
        self._spawn(self._look())
        self._spawn(self._count(self._hub.people_here()))

    async def _announce(self, announcement: Announcement) -> None:
        for topics in _parts(self._hub.people_here(), _ASKED_AT_ONCE):
            try:
                wanting = await self._wanting(topics, announcement.source.category)
            except PyMongoError as error:
                # Nobody gets what they may have turned off; it is in the inbox.
                log.warning("broadcast_unheard", error=type(error).__name__, people=len(topics))
                continue
            for topic in wanting:
                self._hub.announce_here(topic, announcement)
            # The frames go out before the next ones are made.
            await asyncio.sleep(0)

    async def _wanting(self, topics: Sequence[str], category: Category.Type.ValueType) -> list[str]:
        """Those of people who want this category in real time. Raises PyMongoError where the store stays away."""
        people = {topic.partition(":")[2]: topic for topic in topics}
        for tries_left in reversed(range(_TRIES)):
            try:
                found = await self._preferences.choices(list(people))
                break
            except PyMongoError:
                if not tries_left:
                    raise
                await asyncio.sleep(_RETRY_S)
        return [
            topic
            for user_id, topic in people.items()
            if not refusal(found.get(user_id, NOTHING), category, Channel.REAL_TIME)
        ]

    async def _count(self, topics: list[str]) -> None:
        await asyncio.sleep(random.uniform(0, COUNT_DELAY_S))
        for part in _parts(topics, _COUNTED_AT_ONCE):
            for topic in part:
                self._changed(topic)
            await asyncio.sleep(_COUNT_PAUSE_S)


def _parts(topics: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(topics), size):
        yield topics[start : start + size]
